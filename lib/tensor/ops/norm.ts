/** Layer normalisation, group normalisation with SiLU, and softmax. */
import { type NativeTensor, native } from '../../native/index.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

const wrap = (handle: NativeTensor | null): Tensor | null => handle && new Tensor(handle)

export interface LayerNormOptions {
  /** (C), or (R, C) used by row r of x as row r % R; R = rows of x is one factor an element. */
  scale?: Tensor | null
  /** As scale; when both are given they have the same number of rows. */
  shift?: Tensor | null
  /** Multiply by scale (the affine layer) instead of 1 + scale (a modulation). */
  affine?: boolean
  eps?: number
}

/**
 * n·(1 + scale) + shift, or n·scale + shift with `affine`, where n = (x − mean)/√(variance + eps) over the last axis.
 * @param x (…, C)
 * @throws ERR_SHAPE when scale or shift do not fit
 */
export function layerNorm(
  x: Tensor,
  { scale = null, shift = null, affine = false, eps = 1e-6 }: LayerNormOptions = {},
): Tensor {
  const [y, mean, rstd] = native
    .layerNorm(x.handle, scale?.handle ?? null, shift?.handle ?? null, affine, eps)
    .map((h) => new Tensor(h))
  const shiftShape = shift?.shape ?? []
  record({
    name: 'layerNorm',
    inputs: [x, scale, shift],
    outputs: [y],
    save: [x, mean, rstd, scale],
    backward: ([x, mean, rstd, scale], [dy], [needX, needScale, needShift]) =>
      native
        .layerNormBackward(
          dy!.handle,
          x.handle,
          mean.handle,
          rstd.handle,
          scale?.handle ?? null,
          shiftShape,
          affine,
          needX,
          needScale,
          needShift,
        )
        .map(wrap),
  })
  mean.dispose()
  rstd.dispose()
  return y
}

export interface GroupNormOptions {
  groups?: number
  eps?: number
  /** Apply SiLU to the result. */
  silu?: boolean
}

/**
 * weight·n + bias with n normalised over all pixels and the C/groups channels of each group, then SiLU when asked
 * (Wu and He, "Group Normalization", 2018).
 * @param x (N, …, C), channels last
 * @param weight (C)
 * @param bias (C)
 * @throws ERR_SHAPE when the channels do not divide into the groups
 */
export function groupNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  { groups = 32, eps = 1e-6, silu = false }: GroupNormOptions = {},
): Tensor {
  const [y, mean, rstd] = native
    .groupNorm(x.handle, weight.handle, bias.handle, groups, eps, silu)
    .map((h) => new Tensor(h))
  record({
    name: 'groupNorm',
    inputs: [x, weight, bias],
    outputs: [y],
    save: [x, mean, rstd, weight, bias],
    backward: ([x, mean, rstd, weight, bias], [dy], [needX, needWeight, needBias]) =>
      native
        .groupNormBackward(
          dy!.handle,
          x.handle,
          mean.handle,
          rstd.handle,
          weight.handle,
          bias.handle,
          groups,
          silu,
          needX,
          needWeight,
          needBias,
        )
        .map(wrap),
  })
  mean.dispose()
  rstd.dispose()
  return y
}

/** softmax(scale·x) over the last axis. */
export function softmax(x: Tensor, scale = 1): Tensor {
  const y = new Tensor(native.softmax(x.handle, scale))
  record({
    name: 'softmax',
    inputs: [x],
    outputs: [y],
    save: [y],
    backward: ([y], [dy]) => [new Tensor(native.softmaxBackward(dy!.handle, y.handle, scale))],
  })
  return y
}
