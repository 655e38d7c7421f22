/** How many numbers a transformer consists of, from its configuration alone. */
import { type StarConfig, tokenCount } from '../models/star/index.js'

export interface TransformerCounts {
  /** Trainable parameters of all but the head that makes logits. */
  body: number
  /** Those of the body that are in 8 bits where the model is, and their rows, which then have a scale each. */
  matrices: number
  rows: number
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

/** Inputs and outputs of the matrices of a block, by their places in it. */
function matrixSizes(c: StarConfig): Record<string, readonly [inputs: number, outputs: number]> {
  const hidden = hiddenWidth(c)
  return {
    'attn.mat_qkv': [c.width, 3 * c.width],
    'attn.proj': [c.width, c.width],
    'ffn.fc1': [c.width, hidden],
    'ffn.fc2': [hidden, c.width],
    ...(c.enableCross && {
      'cross_attn.mat_q': [c.width, c.width],
      'cross_attn.mat_kv': [c.textWidth, 2 * c.width],
      'cross_attn.proj': [c.width, c.width],
    }),
  }
}

/** Of a LoRA that updates some matrices of each block. */
export interface LoraCounts {
  /** Numbers that are trained. */
  parameters: number
  /** Numbers that a block keeps for backward beside its own, of each image token and of each text token. */
  perToken: number
  perTextToken: number
  /** Numbers that a block at work holds for each image token and does not keep. */
  working: number
}

/** @param places of the updated matrices in a block, such as `attn.proj` */
export function loraCounts(c: StarConfig, rank: number, places: readonly string[]): LoraCounts {
  const sizes = matrixSizes(c)
  const updated = places.filter((place) => place in sizes)
  const ofText = updated.filter((place) => place === 'cross_attn.mat_kv').length
  return {
    parameters: c.depth * updated.reduce((sum, place) => sum + rank * (sizes[place][0] + sizes[place][1]), 0),
    // x·Aᵀ, from which B's gradient is made; A's is made from x, which is kept as in any training.
    perToken: rank * (updated.length - ofText),
    perTextToken: rank * ofText,
    // The product of a matrix and its update lie beside their sum; of the rest of a block, five maps were counted.
    working: 5 * c.width + 2 * Math.max(0, ...updated.map((place) => sizes[place][1])),
  }
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
  const matrices = Object.values(matrixSizes(c))
  return {
    body: embeddings + modulation + c.depth * blockCount(c),
    matrices: c.depth * matrices.reduce((sum, [inputs, outputs]) => sum + inputs * outputs, 0),
    rows: c.depth * matrices.reduce((sum, [, outputs]) => sum + outputs, 0),
    head: linear(w, c.vocabSize),
    buffers: c.depth * w * (c.enableCross ? 2 : 1),
  }
}
