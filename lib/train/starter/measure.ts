/** What a step takes of this machine: measured, by taking some on made-up data. */
import { starConfig } from '../../models/star/index.js'
import { miniLmL6 } from '../../models/text/index.js'
import { tokenizerSchema } from '../../models/tokenizer/index.js'
import type { WeightType } from '../../nn/index.js'
import { type OptimizerConfig, optimizerSchema } from '../config/optimizer.js'
import { resolveOptimizer } from '../config/resolve.js'
import { transformerRunSchema } from '../kinds/transformer/config.js'
import { type RehearsalOptions, type Rehearsed, rehearseTokenizerStep, rehearseTransformerStep } from '../rehearsal.js'
import { geometryOf, type Sizes } from './sizes.js'

/** Of one training. */
export interface Estimate {
  /** Whole training, in seconds. */
  seconds: number
  /** Bytes of the device at most, with those of the process. */
  bytes: number
  /** Micro-batches that a batch is cut into so that it fits. */
  accumulate: number
}

export interface Estimates {
  tokenizer: Estimate
  transformer: Estimate & { precision: WeightType }
}

export interface MeasureOptions {
  device: string
  /** Bytes that a training may take. */
  memory: number
  /** Beyond this many seconds for both trainings a single image is enough to tell. */
  longest: number
  onProgress?: (done: number, total: number) => void
}

/** Node, libraries, and the loader's thread. */
const processBytes = 300e6
/** What a training does beside its steps: reading, validation, sample pictures, checkpoints. */
const besideSteps = 0.1
const startSeconds = 5
/** Part of a tokenizer's step that encoding the same images takes. */
const encoding = 0.3
/** A machine that does other things too is watched for so many seconds, within these numbers of steps. */
const watched = 4
const [fewestSteps, mostSteps] = [2, 20]
/** Where the first step takes so long it is enough. */
const longEnough = 10

type Rehearse = (
  optimizer: OptimizerConfig & { steps: number; warmupSteps: number },
  o: RehearsalOptions,
) => Promise<Rehearsed>

const optimizerOf = (batchSize: number, accumulate: number) =>
  resolveOptimizer(optimizerSchema.parse({ batchSize, accumulate, steps: 1000, learningRate: 1e-4, ema: 0.99 }), null)

interface Measured {
  /** Of a step, on average. */
  seconds: number
  bytes: number
}

async function rehearse(run: Rehearse, batchSize: number, accumulate: number, device: string): Promise<Measured> {
  const optimizer = optimizerOf(batchSize, accumulate)
  const taken: number[] = []
  const take = (steps: number): Promise<Rehearsed> =>
    run(optimizer, { device, steps, onStep: (seconds) => taken.push(seconds) })
  const { peakBytes: bytes } = await take(1)
  const [first] = taken.splice(0)
  if (first > longEnough) return { seconds: first, bytes }
  // The first step of each run gets its memory from the system, which later ones have.
  await take(1 + Math.min(Math.max(Math.ceil(watched / first), fewestSteps), mostSteps))
  const rest = taken.slice(1)
  return { seconds: rest.reduce((sum, seconds) => sum + seconds, 0) / rest.length, bytes }
}

/** A training's step: of one image first, which tells what a batch will take and whether it is worth measuring. */
async function measureStep(
  run: Rehearse,
  { batchSize, steps }: { batchSize: number; steps: number },
  { device, memory, longest }: MeasureOptions,
): Promise<Measured & { accumulate: number }> {
  const one = await rehearse(run, 1, 1, device)
  const two = await run(optimizerOf(2, 1), { device })
  const anImage = Math.max(two.peakBytes - one.bytes, 0)
  let accumulate = 1
  while (accumulate < batchSize && one.bytes + anImage * (batchSize / accumulate - 1) > memory) accumulate *= 2
  // An image in a batch takes about half the time of one alone.
  if ((one.seconds * batchSize * steps) / 2 > 3 * longest)
    return { seconds: (one.seconds * batchSize) / 2, bytes: one.bytes + anImage * (batchSize / accumulate), accumulate }
  return { ...(await rehearse(run, batchSize, accumulate, device)), accumulate }
}

/** Measures what both trainings take, in less than a minute but for large models. */
export async function measure(sizes: Sizes, count: number, options: MeasureOptions): Promise<Estimates> {
  const { onProgress } = options
  const { side, vocabSize } = sizes
  const config = tokenizerSchema.parse(tokenizerModel(sizes))
  onProgress?.(0, 3)
  const tokenizer = await measureStep(
    (optimizer, o) => rehearseTokenizerStep({ config, resolution: side, optimizer, precision: 'f32' }, o),
    sizes.tokenizer,
    options,
  )
  onProgress?.(1, 3)
  const { patchNums, latentChannels } = config
  const { depth, width, heads } = transformerModel(sizes)
  const star = starConfig({
    ...{ depth, width, heads, dropPath: 0, patchNums: [...patchNums], vocabSize, latentChannels },
    textWidth: miniLmL6.width,
  })
  const inPrecision = (precision: WeightType) =>
    measureStep(
      (optimizer, o) => {
        const run = transformerRunSchema.parse({
          ...{ kind: 'transformer', name: 'measured', runFolder: 'none', tokenizer: 'none', precision },
          ...{ model: { depth, width, heads }, data: { packs: ['none'], resolution: side }, optimizer },
        })
        return rehearseTransformerStep({ run, config: star, optimizer, tokenizer: config }, o)
      },
      sizes.transformer,
      options,
    )
  const f32 = await inPrecision('f32')
  onProgress?.(2, 3)
  const bf16 = await inPrecision('bf16')
  onProgress?.(3, 3)
  // Where a processor multiplies 16 bits no faster, f32 is exact at the same price.
  const half = bf16.seconds < 0.9 * f32.seconds
  const best = half ? bf16 : f32
  const encoded = (count / sizes.tokenizer.batchSize) * encoding * tokenizer.seconds
  return {
    tokenizer: estimate(tokenizer, sizes.tokenizer.steps, 0),
    transformer: { ...estimate(best, sizes.transformer.steps, encoded), precision: half ? 'bf16' : 'f32' },
  }
}

function estimate(
  { seconds, bytes, accumulate }: Measured & { accumulate: number },
  steps: number,
  more: number,
): Estimate {
  return { seconds: startSeconds + more + steps * seconds * (1 + besideSteps), bytes: bytes + processBytes, accumulate }
}

/** The `model` of the tokenizer's configuration. */
export function tokenizerModel({ side, vocabSize }: Sizes) {
  const { channelMultipliers, patchNums } = geometryOf(side)
  return {
    baseChannels: 32,
    channelMultipliers: [...channelMultipliers],
    residualBlocks: 1,
    levelAttention: false,
    vocabSize,
    latentChannels: 16,
    patchNums: [...patchNums],
  }
}

/** The `model` of the transformer's configuration. */
export const transformerModel = ({ depth, width }: Sizes) => ({ depth, width, heads: width / 64, dropPath: 0 })
