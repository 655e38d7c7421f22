/** First values of the transformer's parameters: truncated normals of std √(1/3C), with the exceptions listed here. */

import type { Shape } from '../../tensor/index.js'
import { full, type Random, Tensor, zeros } from '../../tensor/index.js'

/** What a part of the model needs to make its parameters. */
export interface ModelInit {
  /** Source of the first values; null leaves zeros, for weights that are loaded afterwards. */
  init: Random | null
  device?: string
}

/** Factor on the standard deviation of the head's weight. */
export const headScale = 0.02
/** Factors on ada_gss: of the branch gains γ, which start near zero, and of scales and shifts. */
export const gainScale = 5e-5
export const modulationScale = 0.5
/** exp of the first value of a head's log scale under attnL2Norm. */
const firstAttentionScale = 4

/** Standard deviation √(1/3C) of linears and embeddings. */
export const baseStd = (width: number): number => Math.sqrt(1 / (3 * width))

/** Standard deviation of the projection that ends a residual branch: the 2·depth branches add up to the variance of one. */
export const branchStd = (width: number, depth: number): number => baseStd(width) / Math.sqrt(2 * depth)

/** A parameter that is no layer's weight. */
export function normalParameter(shape: Shape, std: number, { init, device }: ModelInit): Tensor {
  return init ? init.truncatedNormal(shape, { mean: 0, std, device }) : zeros(shape, { device })
}

/** scale_mul_1H11: ln of the factor on normalised queries, one a head. */
export function logScaleParameter(heads: number, { device }: ModelInit): Tensor {
  return full([1, heads, 1, 1], Math.log(firstAttentionScale), { device })
}

/** ada_gss (1, 1, 6, C): rows γ1, γ2, s1, s2, b1, b2, normal with std 1/√C times the factors above. */
export function modulationParameter(width: number, { init, device }: ModelInit): Tensor {
  if (!init) return zeros([1, 1, 6, width], { device })
  using normal = init.normal([6, width], { mean: 0, std: 1 / Math.sqrt(width) })
  const values = normal.floats()
  const scaled = values.map((v, i) => v * (i < 2 * width ? gainScale : modulationScale))
  return Tensor.from(scaled, [1, 1, 6, width], { device })
}
