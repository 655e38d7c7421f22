/** First values of the transformer's parameters: truncated normals of std √(1/3C), with the exceptions listed here. */

import type { Shape } from '../../tensor/index.js'
import { full, type Random, Tensor, zeros } from '../../tensor/index.js'
import { type InitScales, initScalesSchema } from './config.js'

const asPublished = initScalesSchema.parse({})

/** What a part of the model needs to make its parameters. */
export interface ModelInit {
  /** Source of the first values; null leaves zeros, for weights that are loaded afterwards. */
  init: Random | null
  device?: string
  /** Whether the matrices of the blocks are in 8 bits, and frozen. Default false. */
  int8?: boolean
  /** Sizes of the first values; default: as published. */
  scales?: InitScales
}

/** exp of the first value of a head's log scale under attnL2Norm. */
const firstAttentionScale = 4

/** Standard deviation of linears and embeddings: as given, or √(1/3C). */
export const baseStd = (width: number, { scales = asPublished }: ModelInit): number =>
  scales.std ?? Math.sqrt(1 / (3 * width))

/** Standard deviation of the projection that ends a residual branch: the 2·depth branches add up to the variance of one. */
export const branchStd = (width: number, depth: number, init: ModelInit): number =>
  baseStd(width, init) / Math.sqrt(2 * depth)

/** Standard deviation of the weight that makes logits. */
export const headStd = (width: number, init: ModelInit): number =>
  baseStd(width, init) * (init.scales ?? asPublished).head

/** A parameter that is no layer's weight. */
export function normalParameter(shape: Shape, std: number, { init, device }: ModelInit): Tensor {
  return init ? init.truncatedNormal(shape, { mean: 0, std, device }) : zeros(shape, { device })
}

/** scale_mul_1H11: ln of the factor on normalised queries, one a head. */
export function logScaleParameter(heads: number, { device }: ModelInit): Tensor {
  return full([1, heads, 1, 1], Math.log(firstAttentionScale), { device })
}

/** ada_gss (1, 1, 6, C): rows γ1, γ2, s1, s2, b1, b2, normal with std 1/√C times the factors above. */
export function modulationParameter(width: number, { init, device, scales = asPublished }: ModelInit): Tensor {
  if (!init) return zeros([1, 1, 6, width], { device })
  using normal = init.normal([6, width], { mean: 0, std: 1 / Math.sqrt(width) })
  const values = normal.floats()
  const scaled = values.map((v, i) => v * (i < 2 * width ? scales.gain : scales.modulation))
  return Tensor.from(scaled, [1, 1, 6, width], { device })
}
