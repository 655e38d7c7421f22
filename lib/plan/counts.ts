/** How many numbers a transformer consists of, from its configuration alone. */
import { type StarConfig, tokenCount } from '../models/star/index.js'

export interface TransformerCounts {
  /** Trainable parameters of all but the head that makes logits. */
  body: number
  /** The head's. */
  head: number
  /** Constants that lie beside the parameters: zero biases. */
  buffers: number
}

const linear = (inputs: number, outputs: number, bias = true): number => outputs * (inputs + (bias ? 1 : 0))

export const hiddenWidth = ({ width, mlpRatio }: StarConfig): number => Math.round(width * mlpRatio)

function blockCount(c: StarConfig): number {
  const { width: w } = c
  const scales = c.attnL2Norm ? c.heads : 0
  const self = linear(w, 3 * w, false) + linear(w, w) + 2 * w + scales
  const cross = linear(c.textWidth, 2 * w, false) + linear(w, w, false) + linear(w, w) + 2 * w + scales
  const feedForward = linear(w, hiddenWidth(c)) + linear(hiddenWidth(c), w)
  return self + (c.enableCross ? cross : 0) + feedForward + (c.sharedAdaLN ? 6 * w : 0)
}

/** Counts of the transformer that `new StarTransformer(config)` makes. */
export function transformerCounts(c: StarConfig): TransformerCounts {
  const { width: w, patchNums } = c
  const embeddings =
    patchNums[0] ** 2 * w +
    (c.rope ? 0 : tokenCount(patchNums) * w) +
    linear(c.latentChannels, w) +
    (c.levelEmbedding || c.sharedAdaLN ? patchNums.length * w : 0) +
    linear(c.textWidth, w)
  const modulation = c.sharedAdaLN ? linear(2 * w, w) + linear(w, 6 * w) : 0
  return {
    body: embeddings + modulation + c.depth * blockCount(c),
    head: linear(w, c.vocabSize),
    buffers: c.depth * w * (c.enableCross ? 2 : 1),
  }
}
