/** What a step of a published run computes, and when its gradients are ready. */
import { bytesOf, planBuckets, shardAlignment, standardSizes } from '../../lib/distributed/buckets.js'
import { levels, type StarConfig } from '../../lib/models/star/index.js'
import { hiddenWidth } from '../../lib/plan/index.js'
import type { DType } from '../../lib/tensor/index.js'
import { allReduceMs, exposed, type Network, type ReadyBucket, replay } from './exchange.js'

/** A card, and what is taken of it. */
export interface Card {
  name: string
  /** 16-bit operations a second, and the part of them that a step reaches. */
  peak: number
  utilisation: number
  /** Bytes a second that an optimizer reaches. */
  memory: number
}

/** Parameters that become ready together, in the order of forward. */
export interface Part {
  name: string
  count: number
  /** Operations of one picture, forward. */
  flop: number
}

const textTokens = 77
/** AdamW reads gradient, master and both averages, writes weight, master and both averages: 2 + 3·4 and 2 + 3·4 bytes. */
const optimizerBytes = 28

/**
 * The transformer's parameters and operations. A weight of s elements takes 2·s for each token it meets; attention takes 4·C for
 * every pair of a query and a key that it may see: all keys of its own scale and of those before.
 * @param tokens that are trained on, where later ones are dropped
 */
export function partsOf(config: StarConfig, tokens: number): Part[] {
  const { width: w, textWidth, latentChannels, vocabSize, depth, patchNums, heads } = config
  const scales = levels(patchNums)
  // Dropped tokens are those of the last scales.
  const pairs = scales.reduce(
    (sum, { begin, end }) => sum + Math.max(0, Math.min(end, tokens) - begin) * Math.min(end, tokens),
    0,
  )
  const h = hiddenWidth(config)
  const norms = config.attnL2Norm ? heads : 0
  const linear = (name: string, inputs: number, outputs: number, met = tokens, extra = outputs): Part => ({
    name,
    count: inputs * outputs + extra,
    flop: 2 * met * inputs * outputs,
  })
  const block: Part[] = [
    { ...linear('attn.mat_qkv', w, 3 * w, tokens, 2 * w + norms), flop: 2 * tokens * 3 * w * w + 4 * w * pairs },
    linear('attn.proj', w, w),
    linear('cross_attn.mat_kv', textWidth, 2 * w, textTokens, 2 * w + norms),
    { ...linear('cross_attn.mat_q', w, w, tokens, 0), flop: 2 * tokens * w * w + 4 * w * tokens * textTokens },
    linear('cross_attn.proj', w, w),
    linear('ffn.fc1', w, h),
    linear('ffn.fc2', h, w),
  ]
  return [
    linear('encoder_proj', textWidth, w, 1),
    { name: 'pos_start, lvl_embed', count: (patchNums[0] ** 2 + patchNums.length) * w, flop: 0 },
    linear('word_embed', latentChannels, w),
    ...Array.from({ length: depth }, (_, i) =>
      block.map((part) => ({ ...part, name: `blocks.${i}.${part.name}` })),
    ).flat(),
    linear('head_logits', w, vocabSize),
  ]
}

export interface StepInput {
  config: StarConfig
  /** Pictures of a GPU. */
  images: number
  tokens: number
  /** Blocks are computed again in backward. */
  recompute: boolean
  gpus: number
  card: Card
  network: Network
}

export interface StepTimes {
  forwardMs: number
  backwardMs: number
  buckets: ReadyBucket[]
  exchangeMs: number
  /** Of the exchange, what backward does not hide. */
  exposedMs: number
  /** The same by replaying every bucket. */
  replayedMs: number
  optimizerMs: number
  stepMs: number
  /** The time that one GPU needs for its pictures, over that of the step. */
  efficiency: number
  /** The same with an optimizer sharded over all GPUs, whose weights are gathered after the step. */
  shardedEfficiency: number
}

/** How long backward takes, and its buckets. */
export interface Backward {
  backwardMs: number
  buckets: ReadyBucket[]
}

export interface BackwardInput {
  parts: readonly Part[]
  recompute: boolean
  /** Processes that exchange the gradients. */
  processes: number
  /** Type of the gradients. */
  dtype: DType
  /** Milliseconds of so many operations of one picture. */
  ms: (flop: number) => number
}

/** Backward goes through the parts from the last to the first and takes twice the operations of forward, and those of forward again
 * where blocks are recomputed. */
export function backwardOf({ parts, recompute, processes, dtype, ms }: BackwardInput): Backward {
  const again = ({ name }: Part): number => (recompute && name.startsWith('blocks.') ? 1 : 0)
  const contents = parts.map(({ count }) => ({ count, dtype, stored: dtype }))
  const plans = planBuckets(contents, { ...standardSizes, multiple: shardAlignment * processes })
  const readyOf: number[] = []
  let clock = 0
  for (let i = parts.length - 1; i >= 0; i--) {
    clock += ms((2 + again(parts[i])) * parts[i].flop)
    readyOf[i] = clock
  }
  const buckets = plans.map(({ places, length }) => ({
    bytes: bytesOf[dtype] * length,
    readyMs: Math.max(...places.map(({ index }) => readyOf[index])),
  }))
  return { backwardMs: clock, buckets }
}

export function stepTimes({ config, images, tokens, recompute, gpus, card, network }: StepInput): StepTimes {
  const parts = partsOf(config, tokens)
  const ms = (flop: number): number => (1000 * flop * images) / (card.peak * card.utilisation)
  const forwardMs = ms(parts.reduce((sum, { flop }) => sum + flop, 0))
  const { backwardMs, buckets } = backwardOf({ parts, recompute, processes: gpus, dtype: 'bf16', ms })
  const cost = (bytes: number): number => allReduceMs(bytes, gpus, network)
  const exchangeMs = buckets.reduce((sum, { bytes }) => sum + cost(bytes), 0)
  const optimizerMs = (1000 * optimizerBytes * parts.reduce((sum, { count }) => sum + count, 0)) / card.memory
  const alone = forwardMs + backwardMs + optimizerMs
  const exposedMs = exposed(buckets, backwardMs, cost)
  const replayedMs = replay(buckets, cost).at(-1)! - backwardMs
  const stepMs = alone + exposedMs
  // A reduce-scatter and an all-gather are half an all-reduce each; nothing hides the second.
  const half = exposed(buckets, backwardMs, (bytes) => cost(bytes) / 2)
  const sharded = forwardMs + backwardMs + half + optimizerMs / gpus + exchangeMs / 2
  return {
    ...{ forwardMs, backwardMs, buckets, exchangeMs, exposedMs, replayedMs, optimizerMs, stepMs },
    efficiency: alone / stepMs,
    shardedEfficiency: alone / sharded,
  }
}
