/** How large a model and how long a training the pictures call for, before the machine is asked. */

import type { FilterCounts } from '../../data/filters.js'
import { Filters } from '../../data/index.js'
import { StarError } from '../../native/index.js'
import type { Survey } from './survey.js'

/** Sides that pictures are trained at, with the tokenizer's levels and the sides of its token maps. */
const geometries = {
  32: { channelMultipliers: [1, 2, 4], patchNums: [1, 2, 3, 4, 6, 8] },
  64: { channelMultipliers: [1, 1, 2, 4], patchNums: [1, 2, 3, 4, 6, 8] },
  128: { channelMultipliers: [1, 2, 2, 4], patchNums: [1, 2, 4, 8, 16] },
  256: { channelMultipliers: [1, 1, 2, 2, 4], patchNums: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16] },
  512: { channelMultipliers: [1, 1, 2, 2, 4], patchNums: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32] },
} as const

export type Side = keyof typeof geometries
export const sides = Object.keys(geometries).map(Number) as Side[]
export const geometryOf = (side: Side) => geometries[side]

/** Models by the number of pictures they are for: a larger one learns few pictures by heart no better, only more slowly. */
const models = [
  { upTo: 300, vocabSize: 512, depth: 4, width: 128, batchSize: 16 },
  { upTo: 2000, vocabSize: 1024, depth: 4, width: 192, batchSize: 16 },
  { upTo: 6000, vocabSize: 2048, depth: 4, width: 256, batchSize: 16 },
  { upTo: 30_000, vocabSize: 4096, depth: 8, width: 384, batchSize: 32 },
  { upTo: 200_000, vocabSize: 4096, depth: 12, width: 768, batchSize: 64 },
  { upTo: Number.POSITIVE_INFINITY, vocabSize: 4096, depth: 16, width: 1024, batchSize: 64 },
] as const

export interface Sizes {
  side: Side
  vocabSize: number
  depth: number
  width: number
  tokenizer: { batchSize: number; steps: number }
  transformer: { batchSize: number; steps: number }
}

/**
 * Passes over the pictures after which more of them were seen to change little, of a few thousand pictures; few pictures need more
 * passes, since a network takes some hundred steps to learn to draw at all.
 */
const tokenizerPasses = 20
const fewestTokenizerSteps = 800
const transformerPasses = 50
const fewestTransformerSteps = 400
const mostSteps = 300_000

const stepsOf = (count: number, passes: number, batchSize: number, fewest: number): number => {
  const steps = Math.min(Math.max((count * passes) / batchSize, fewest), mostSteps)
  return 50 * Math.ceil(steps / 50)
}

const tierOf = (count: number): number => models.findIndex(({ upTo }) => count <= upTo)

/** What to try on the machine, best first; every one of them is a training that makes sense. */
export function candidates(count: number, possible: readonly Side[]): Sizes[] {
  const tier = tierOf(count)
  const bySide = possible.map((side) => sizesOf(count, side, tier))
  const smallest = possible[possible.length - 1]
  return [...bySide, ...models.slice(0, tier).map((_, i) => sizesOf(count, smallest, tier - 1 - i))]
}

function sizesOf(count: number, side: Side, tier: number): Sizes {
  const { vocabSize, depth, width, batchSize } = models[tier]
  return {
    side,
    vocabSize,
    depth,
    width,
    tokenizer: { batchSize: 8, steps: stepsOf(count, tokenizerPasses, 8, fewestTokenizerSteps) },
    transformer: { batchSize, steps: stepsOf(count, transformerPasses, batchSize, fewestTransformerSteps) },
  }
}

/** Largest side that is chosen without being asked for. */
const largestDefault = 256
/** So many pictures may be smaller than the side that is chosen. */
const smallerShare = 0.1

/** Sides to try, largest first: the one that was asked for, or those that the pictures have. @throws ERR_ARGUMENT */
export function possibleSides({ pictures }: Survey, asked?: number): Side[] {
  if (asked !== undefined) {
    const side = sides.find((one) => one === asked)
    if (side) return [side]
    throw new StarError('ERR_ARGUMENT', `--size is ${asked}, expected ${sides.join(', ')}`)
  }
  const shorter = pictures.map(({ width, height }) => Math.min(width, height)).sort((a, b) => a - b)
  const common = shorter[Math.floor(smallerShare * shorter.length)]
  const fitting = sides.filter((side) => side <= Math.min(common, largestDefault) && side > 32)
  return fitting.length > 0 ? fitting.reverse() : [common < 64 ? 32 : 64]
}

/** Settings of filters for pictures as these are, and what they leave out. */
export interface Filtering {
  filters: { minSide?: false; captionLength?: [number, number] }
  leftOut: FilterCounts
  /** Pictures smaller than the side, which are enlarged. */
  enlarged: number
}

export function filteringOf({ pictures }: Survey, side: number): Filtering {
  const small = pictures.filter(({ width, height }) => Math.min(width, height) < side).length
  const enlarge = small > smallerShare * pictures.length
  // A caption of up to three letters, such as "cat", counts as none by default.
  const short = pictures.some(({ captions }) => captions.some((caption) => [...caption.trim()].length <= 3))
  const filters = {
    ...(enlarge && { minSide: false as const }),
    ...(short && { captionLength: [0, 1024] as [number, number] }),
  }
  const all = new Filters(side, filters)
  for (const { captions, ...facts } of pictures) all.apply(facts, captions)
  return { filters, leftOut: all.counts, enlarged: enlarge ? small : 0 }
}
