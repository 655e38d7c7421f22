/** Estimates of the memory that training and generation take, part by part, before anything is allocated. */
import { type ModelType, type StarConfig, tokenCount } from '../models/star/index.js'
import { StarError } from '../native/index.js'
import type { WeightType } from '../nn/index.js'
import { hiddenWidth, type LoraCounts, type TransformerCounts, transformerCounts } from './counts.js'

/** Bytes by what they are for. `peak` is the largest sum of what is there at once. */
export interface MemoryPlan {
  parts: readonly (readonly [name: string, bytes: number])[]
  peak: number
}

export interface TrainingPlanInput {
  config: StarConfig
  /** Samples of a micro-batch. */
  samples: number
  /** Micro-batches of a step. */
  accumulate: number
  precision: WeightType
  recompute: boolean
  /** The matrices of the blocks are stepped by Muon, which keeps one number of each weight where AdamW keeps two. */
  muon?: boolean
  /** An average of the weights is kept. */
  average: boolean
  /** Processes that share the batch. */
  processes: number
  /** Each of them keeps optimizer state of its part of the weights alone. */
  shard: boolean
  /** Tokens of a sample where some are left out; default: all. */
  length?: number
  /** Tokens of a prompt. */
  textLength: number
  /** Bytes of the frozen tokenizer. */
  tokenizer: number
  /** A LoRA that is trained in place of the weights, which are frozen, and may be in 8 bits. */
  lora?: LoraCounts & { int8: boolean }
}

/** Bytes of all but the head, whose matrices may be in 8 bits with an f32 scale a row. */
const bodyBytes = ({ body, buffers, matrices, rows }: TransformerCounts, size: number, int8: boolean): number =>
  int8 ? size * (body - matrices + buffers) + matrices + 4 * rows : size * (body + buffers)

const sizeOf = (type: WeightType): number => (type === 'f32' ? 4 : 2)

/**
 * Bytes of one block's tape, by what backward reads. A token keeps, in channels: x and LN(x) (2), the packed projection and its
 * three parts (6), attention's result (1); for cross-attention x, LN(x), q before and after its norm, the result (5); x and
 * LN(x) before the feed-forward (2), its hidden layer before and after gelu (2·hidden). A text token keeps k and v before and
 * after the norm (4). In f32: mean and deviation of three norms, log-sum-exp of each head.
 */
export function blockTape(
  c: StarConfig,
  samples: number,
  textLength: number,
  size: number,
  length = tokenCount(c.patchNums),
): number {
  const tokens = samples * length
  const texts = (c.crossAttention === 'first-sample' ? 1 : samples) * textLength
  const channels = (c.enableCross ? 16 : 11) * c.width + 2 * hiddenWidth(c)
  // Shared AdaLN keeps both branches for their gains, and six vectors of each position.
  const modulation = c.sharedAdaLN ? (2 * tokens + 6 * length) * c.width : 0
  const single = tokens * (6 + (c.enableCross ? 2 : 1) * c.heads)
  return size * (tokens * channels + modulation + (c.enableCross ? 4 * texts * c.width : 0)) + 4 * single
}

/**
 * What a step of training takes of one process. Gradients replace activations as backward goes, so the larger of both counts.
 * Several processes have flat buckets for all gradients besides, and where those are f32 and the weights are not, a sharded
 * optimizer has others to gather weights in.
 */
export function planTraining(input: TrainingPlanInput): MemoryPlan {
  const { config: c, samples, precision, textLength, lora } = input
  const size = sizeOf(precision)
  const counts = transformerCounts(c)
  const { body, head, buffers } = counts
  const all = body + head + buffers
  const count = lora ? lora.parameters : body + head
  const length = input.length ?? tokenCount(c.patchNums)
  const tokens = samples * length
  const updates = lora ? samples * (lora.perToken * length + lora.perTextToken * textLength) : 0
  const tape = blockTape(c, samples, textLength, size, length) + size * updates
  const blocks = input.recompute ? c.depth * size * tokens * c.width + tape : c.depth * tape
  const logits = size * tokens * (2 * c.vocabSize + 2 * c.width) // with their gradient
  const inputs = tokens * (4 * c.latentChannels + size * c.width) + samples * textLength * c.textWidth * (4 + size)
  const model = lora?.int8 ? bodyBytes(counts, size, true) + size * head : size * all
  const weights = model + (lora ? size * count : 0)
  const stepped = input.shard ? Math.ceil(count / input.processes) : count
  const masters = precision === 'f32' ? 0 : 4 * stepped
  const moments = 8 * stepped - (input.muon ? 4 * counts.matrices : 0)
  const average = input.average ? 4 * stepped : 0
  const working = lora ? size * tokens * lora.working : 0
  const activations = blocks + working + logits + inputs
  const accumulated = input.accumulate > 1 ? 4 * count : 0
  const gradients = input.accumulate > 1 ? accumulated : size * count
  const exchanged = input.processes > 1 ? (input.accumulate > 1 ? 4 : size) * count : 0
  const gathered = input.processes > 1 && input.shard && input.accumulate > 1 && size < 4 ? size * count : 0
  // Of Muon, every process has the updates of all matrices in the end.
  const exchangedUpdates = input.muon ? size * counts.matrices : 0
  const kept = weights + masters + moments + average + exchanged + gathered + input.tokenizer
  return {
    parts: [
      ['weights', weights],
      ['f32 masters of the weights', masters],
      [input.muon ? 'momentum and AdamW moments' : 'AdamW moments', moments],
      ['averaged weights', average],
      ['gradients', input.processes > 1 ? accumulated : gradients],
      ['buckets of gradients', exchanged],
      ['buckets of gathered weights', gathered],
      ['activations of the blocks', blocks + working],
      ['logits and inputs', logits + inputs],
      ['frozen tokenizer', input.tokenizer],
    ],
    // In buckets, a gradient is gone as soon as it is made. A frozen model is read in f32 and rounded then; 8 bits at once.
    peak: Math.max(
      kept + Math.max(activations + accumulated, input.processes > 1 ? exchangedUpdates : gradients),
      lora && size < 4 && !lora.int8 ? (4 + size) * all + input.tokenizer : 0,
    ),
  }
}

export interface GenerationPlanInput {
  config: StarConfig
  images: number
  guided: boolean
  /** With int8 all but the matrices of the blocks is in 16 bits. */
  dtype: ModelType
  textLength: number
  /** Bytes of tokenizer and text encoder. */
  tokenizer: number
  textEncoder: number
  /** Channels of the tokenizer's finest level, and pixels of a picture. */
  baseChannels: number
  pixels: number
}

/** Maps of the finest level that the decoder has at once. */
const decoderMaps = 4

/** What drawing a batch takes: the caches and the last scale, or the decoder after them. */
export function planGeneration(input: GenerationPlanInput): MemoryPlan {
  const { config: c, images, dtype } = input
  const size = sizeOf(dtype === 'int8' ? 'bf16' : dtype)
  const counts = transformerCounts(c)
  const samples = images * (input.guided ? 2 : 1)
  const weights = bodyBytes(counts, size, dtype === 'int8') + 4 * counts.head
  const cache = 2 * c.depth * samples * tokenCount(c.patchNums) * c.width * size
  const texts = c.enableCross ? 2 * c.depth * samples * input.textLength * c.width * size : 0
  const tokens = samples * c.patchNums[c.patchNums.length - 1] ** 2
  // The feed-forward holds x, LN(x), the hidden layer and the result; logits come after it, with their guided half.
  const feedForward = tokens * size * (3 * c.width + hiddenWidth(c))
  const logits = tokens * 4 * (2 * c.width + c.vocabSize * (input.guided ? 1.5 : 1))
  const scale = Math.max(feedForward, logits)
  const decoder = decoderMaps * images * input.pixels * input.baseChannels * 4
  const kept = weights + input.tokenizer + input.textEncoder
  return {
    parts: [
      ['weights', weights],
      ['keys and values of all tokens', cache],
      ['keys and values of the text', texts],
      ['the last scale', scale],
      ['tokenizer', input.tokenizer],
      ['text encoder', input.textEncoder],
      ['the decoder’s maps', decoder],
    ],
    peak: kept + Math.max(cache + texts + scale, decoder),
  }
}

export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`

/** @throws ERR_MEMORY with the parts and what to change when the plan does not fit */
export function checkFits(plan: MemoryPlan, available: number, device: string, remedies: readonly string[]): void {
  if (plan.peak <= available) return
  const largest = plan.parts
    .filter(([, bytes]) => bytes > 0.05 * plan.peak)
    .map(([name, bytes]) => `${name} ${gigabytes(bytes)}`)
  throw new StarError(
    'ERR_MEMORY',
    `this takes ${gigabytes(plan.peak)}, and ${device} has ${gigabytes(available)} (${largest.join(', ')}): ${remedies.join(', or ')}`,
  )
}
