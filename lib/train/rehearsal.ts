/**
 * Runs on random weights and made-up data, part by part: what an audit and the clock on paper walk through, and what "star init"
 * measures. They go through the code that real runs go through, but for data and text encoder, of which only shapes matter here.
 */
import { ProcessGroup } from '../distributed/index.js'
import {
  chooseTokens,
  type DropPath,
  drawDropPath,
  hiddenMatrices,
  type ModelType,
  SamplerHead,
  type StarConfig,
  StarTransformer,
  samplerObjective,
  sliceDropPath,
  starConfig,
  type TextInput,
  type TokenSubset,
  tokenObjective,
} from '../models/star/index.js'
import { defaultObjective, Tokenizer, type TokenizerConfig, tokenizerObjective } from '../models/tokenizer/index.js'
import { native } from '../native/index.js'
import { buildIn, type Module, type WeightType } from '../nn/index.js'
import { GraphPool, generate, type SamplingOptions } from '../sampling/index.js'
import { concat, keep, mul, noGrad, Random, scope, slice, Tensor, zeros } from '../tensor/index.js'
import { precisionOn } from './config/precision.js'
import type { ResolvedOptimizer } from './config/resolve.js'
import type { Batch } from './data/batch.js'
import { type Figures, scalars, type Task } from './kinds/task.js'
import type { TransformerRunConfig } from './kinds/transformer/config.js'
import { Replicas } from './loop/replicas.js'
import { Stepper } from './loop/stepper.js'

/** Tokens of a prompt: what a CLIP encoder gives. */
const textLength = 77

export interface RehearsalOptions {
  device: string
  /** Told the name of each part when all its work was given to the device. */
  onPart?: (part: string) => void
  /** Of a training, how many are taken. Default 1. */
  steps?: number
  /** Told how long each step took, when the device has done it. */
  onStep?: (seconds: number) => void
}

/** Memory of the device at its most in a rehearsal, in bytes. */
export interface Rehearsed {
  peakBytes: number
}

/** Runs it, and tells the memory of the device at its most. */
export async function measured(device: string, run: () => Promise<void>): Promise<Rehearsed> {
  native.resetPeakMemory(device)
  await run()
  native.synchronize(device)
  return { peakBytes: native.memory(device).peakBytes }
}

/** What a rehearsed task cannot be asked for: it is never saved, validated or shown. */
const never = (what: string) => (): never => {
  throw new Error(`a rehearsal has no ${what}`)
}

/** What no rehearsed task has. */
export const unsaved = {
  sides: [],
  frozen: {},
  source: null,
  pictures: never('pictures'),
  state: never('state'),
  restore: never('state'),
  modelConfig: never('model for use'),
}

/** Figures of a micro-batch that are read back as those of a real one. */
export const figuresOf = (loss: Tensor, ...more: Tensor[]): Figures => ({
  values: concat([scalars([loss]), ...more], 0),
  named: ([mean]) => ({ loss: mean }),
})

/** One sample, as often as it is asked for. */
export const batchOf = (count: number): Batch => ({ ids: Array.from({ length: count }, (_, i) => `${i}`), epoch: 0 })

/** Steps of a task with an optimizer, which are freed at the end. */
export async function step(
  task: Task,
  optimizer: ResolvedOptimizer,
  precision: WeightType,
  o: RehearsalOptions,
): Promise<void> {
  const stepper = new Stepper(task, optimizer, precision, new Replicas(ProcessGroup.single(), o.device))
  try {
    o.onPart?.('weights and optimizer')
    for (let i = 0; i < (o.steps ?? 1); i++) {
      const begun = performance.now()
      await stepper.run()
      if (o.onStep) {
        native.synchronize(o.device)
        o.onStep((performance.now() - begun) / 1000)
      }
    }
    o.onPart?.('optimizer')
  } finally {
    stepper.dispose()
    task.dispose()
  }
}

interface TransformerPart {
  count: number
  dropPath: DropPath
  subset: TokenSubset | null
}

export interface TransformerStep {
  run: TransformerRunConfig
  config: StarConfig
  /** Of the optimizer, with lengths in steps. */
  optimizer: ResolvedOptimizer
  tokenizer: TokenizerConfig
}

/** Texts of as many samples, none of whose values matter. */
export function textOf(count: number, width: number, device: string): TextInput {
  return {
    states: zeros([count, textLength, width], { device }),
    pooled: zeros([count, width], { device }),
    mask: Tensor.from(new Uint8Array(count * textLength).fill(1), [count, textLength], { device }),
  }
}

/** A step of a transformer's training with the whole batch of the run, in as many micro-batches as it says. */
export function rehearseTransformerStep(
  { run, config, optimizer, tokenizer }: TransformerStep,
  options: RehearsalOptions,
): Promise<Rehearsed> {
  const { device, onPart } = options
  return measured(device, async () => {
    const random = new Random(1)
    const vae = new Tokenizer(tokenizer, { init: random, device })
    vae.setTrainable(false)
    const model = new StarTransformer(config, { init: random, device, scales: run.init })
    const task: Task<Batch, TransformerPart> = {
      ...unsaved,
      hiddenMatrices,
      model,
      next: async (count) => batchOf(count),
      split(batch, count) {
        const dropPath = drawDropPath(config, { total: batch.ids.length, begin: 0, end: batch.ids.length }, random)
        const subset = chooseTokens(model.levels, { scales: model.levels.length, drop: run.tokenDrop }, random)
        const size = batch.ids.length / count
        return Array.from({ length: count }, (_, i) => ({
          count: size,
          dropPath: sliceDropPath(dropPath, i * size, (i + 1) * size),
          subset,
        }))
      },
      forwardBackward({ count, dropPath, subset }, _step, backward): Figures {
        const maps = config.patchNums.map((p) => Tensor.from(new Int32Array(count * p * p), [count, p * p], { device }))
        const all = Tensor.from(new Int32Array(count * model.length), [count, model.length], { device })
        const teacher = vae.quantizer.transformerInput(maps) // (B, L − p₁², Z)
        const text = textOf(count, config.textWidth, device)
        onPart?.('data')
        const input = subset ? subset.cutInput(teacher) : teacher // (B, n − p₁², Z)
        const targets = subset ? subset.cutTargets(all) : all // (B, n)
        const logits = model.forward({ input, text, subset, dropPath, recompute: run.recompute }) // (B, n, V)
        const ranges = subset?.levels ?? model.levels
        const { loss, sums } = tokenObjective(logits, targets, ranges, { labelSmoothing: run.labelSmoothing })
        onPart?.('forward')
        backward(loss)
        onPart?.('backward')
        return figuresOf(loss, sums)
      },
      dispose() {
        model.dispose()
        vae.dispose()
      },
    }
    await step(task as Task, optimizer, precisionOn(run.precision, device), options)
  })
}

export interface SamplerStep {
  /** Of the base, which is kept in the precision of the run. */
  config: StarConfig
  /** Index of the first scale that the head learns. */
  stableFrom: number
  optimizer: ResolvedOptimizer
  precision: WeightType
  tokenizer: TokenizerConfig
}

/** A step of a sampler head's training on the features of a frozen transformer. */
export function rehearseSamplerStep(
  { config, stableFrom, optimizer, precision, tokenizer }: SamplerStep,
  options: RehearsalOptions,
): Promise<Rehearsed> {
  const { device, onPart } = options
  return measured(device, async () => {
    const init = new Random(1)
    const vae = new Tokenizer(tokenizer, { init, device })
    vae.setTrainable(false)
    const base = buildIn(precision, () => new StarTransformer(config, { init, device })).setTrainable(false)
    const model = new SamplerHead(config, { init, device })
    const { levels } = base
    const [first, last] = [levels[stableFrom].begin, levels[levels.length - 1].end]
    const task: Task<Batch, number> = {
      ...unsaved,
      hiddenMatrices,
      model,
      next: async (count) => batchOf(count),
      split: (batch, count) => Array.from({ length: count }, () => batch.ids.length / count),
      forwardBackward(count, _step, backward): Figures {
        const maps = config.patchNums.map((p) => Tensor.from(new Int32Array(count * p * p), [count, p * p], { device }))
        const known = Float32Array.from({ length: count * (last - first) }, (_, i) => i % 2)
        const input = vae.quantizer.transformerInput(maps) // (B, L − p₁², Z)
        const text = textOf(count, config.textWidth, device)
        const targets = concat(maps.slice(stableFrom), 1) // (B, n)
        onPart?.('data')
        const { features, rows } = noGrad(() => ({
          features: slice(base.features({ input, text }), 1, first, last), // (B, n, C)
          rows: mul(vae.quantizer.embedIndices(targets), Tensor.from(known, [...targets.shape, 1], { device })),
        }))
        const logits = model.forward({ rows, features, pooled: text.pooled, begin: stableFrom, end: levels.length })
        const { loss } = samplerObjective(logits, targets, known, last)
        onPart?.('forward')
        backward(loss)
        onPart?.('backward')
        return figuresOf(loss)
      },
      dispose() {
        model.dispose()
        base.dispose()
        vae.dispose()
      },
    }
    await step(task as Task, optimizer, precision, options)
  })
}

export interface TokenizerStep {
  config: TokenizerConfig
  /** Side of the images. */
  resolution: number
  optimizer: ResolvedOptimizer
  precision: WeightType
}

/** A step of a tokenizer's training. */
export function rehearseTokenizerStep(
  { config, resolution, optimizer, precision }: TokenizerStep,
  options: RehearsalOptions,
): Promise<Rehearsed> {
  const { device, onPart } = options
  return measured(device, async () => {
    const model = new Tokenizer(config, { init: new Random(1), device })
    const task: Task<Batch, number> = {
      ...unsaved,
      model,
      next: async (count) => batchOf(count),
      split: (batch, count) => Array.from({ length: count }, () => batch.ids.length / count),
      forwardBackward(count, _step, backward): Figures {
        const images = zeros([count, resolution, resolution, 3], { device })
        const { loss, indices } = tokenizerObjective(model, images, defaultObjective)
        model.quantizer.codebook.count(indices)
        onPart?.('forward')
        backward(loss)
        onPart?.('backward')
        return figuresOf(loss)
      },
      dispose: () => model.dispose(),
    }
    await step(task as Task, optimizer, precision, options)
  })
}

export interface GenerationRehearsal {
  depth: number
  patchNums: readonly number[]
  images: number
  dtype: ModelType
  /** Of the published tokenizer, where its decoder would take too long. */
  baseChannels?: number
  settings?: SamplingOptions
  /** Tokens of the finer scales are fixed in steps by a sampler head. */
  stable?: boolean
  /** From the third generation on scales are launched as graphs. */
  recorded?: boolean
}

/** Pictures of a published model, from encoded prompts to pixels; recorded ones are drawn three times, and told of once. */
export function rehearseGeneration(work: GenerationRehearsal, options: RehearsalOptions): Promise<Rehearsed> {
  const { device, onPart } = options
  const { depth, patchNums, images, dtype, baseChannels, settings = {}, stable = false, recorded = false } = work
  const config = starConfig({ depth, width: 64 * depth, heads: depth, patchNums: [...patchNums], textWidth: 1024 })
  return measured(device, async () => {
    const init = new Random(1)
    const sizes = { patchNums: [...patchNums], ...(baseChannels && { baseChannels }) }
    using tokenizer = scope(() => new Tokenizer(sizes, { init, device })).setTrainable(false)
    const int8 = dtype === 'int8'
    const build = <M extends Module>(make: () => M): M => buildIn(int8 ? 'bf16' : dtype, () => scope(make))
    using transformer = build(() => new StarTransformer(config, { init, device, int8 })).setTrainable(false)
    if (dtype !== 'f32') tokenizer.decodeIn('f16')
    const samplerHead = stable ? build(() => new SamplerHead(config, { init, device, int8 })).setTrainable(false) : null
    const graphs = recorded ? new GraphPool() : undefined
    const text = scope(() => {
      const { states, pooled } = textOf(2, config.textWidth, device)
      return { states: keep(states), pooled: keep(pooled), mask: null }
    })
    onPart?.('weights')
    try {
      for (let run = recorded ? 3 : 1; run > 0; run--) {
        const last = run === 1
        if (last && recorded) onPart?.('recordings')
        const guided = (settings.cfg ?? 4) > 0
        using fHat = await generate({
          transformer,
          quantizer: tokenizer.quantizer,
          samplerHead,
          text,
          prompts: Array.from({ length: images }, () => 0),
          empty: guided ? 1 : undefined,
          settings,
          graphs,
          onScale: ({ scaleIndex }) => {
            if (last) onPart?.(`scale ${scaleIndex + 1}, ${patchNums[scaleIndex]}×${patchNums[scaleIndex]}`)
          },
        })
        using image = noGrad(() => tokenizer.decode(fHat))
        if (last) onPart?.('decoder')
        image.data()
        if (last) onPart?.('pixels to the host')
      }
    } finally {
      graphs?.dispose()
      samplerHead?.dispose()
      for (const tensor of [text.states, text.pooled]) tensor.dispose()
    }
  })
}
