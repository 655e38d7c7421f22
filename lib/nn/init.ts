/** First values of parameters. */
import { type Random, type Shape, type Tensor, zeros } from '../tensor/index.js'

/** How a layer gets its first values. */
export interface LayerOptions {
  /** Source of the first values; null leaves zeros, for weights that are loaded afterwards. */
  init: Random | null
  /** Standard deviation of a truncated normal for the weight, with a zero bias. Without it: uniform ±1/√fan-in for both. */
  std?: number
  /** Whether the layer has a bias. Default true. */
  bias?: boolean
  /** Whether a linear layer's weight is in 8 bits, a scale a row: it is then not trained. Default false. */
  int8?: boolean
  device?: string
}

/** A weight of `shape` whose rows are fed by `fanIn` values. */
export function initialWeight(shape: Shape, fanIn: number, { init, std, device }: LayerOptions): Tensor {
  if (!init) return zeros(shape, { device })
  if (std !== undefined) return init.truncatedNormal(shape, { mean: 0, std, device })
  const bound = 1 / Math.sqrt(fanIn)
  return init.uniform(shape, { lo: -bound, hi: bound, device })
}

/** The bias that belongs to a weight made by `initialWeight`. */
export function initialBias(count: number, fanIn: number, { init, std, device }: LayerOptions): Tensor {
  if (!init || std !== undefined) return zeros([count], { device })
  const bound = 1 / Math.sqrt(fanIn)
  return init.uniform([count], { lo: -bound, hi: bound, device })
}
