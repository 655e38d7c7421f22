/** The generation loop: from encoded prompts to f̂, scale by scale. */
import { setImmediate } from 'node:timers/promises'
import type { Grid } from '../models/grid.js'
import {
  type DecoderOptions,
  type SamplerHead,
  ScaleDecoder,
  type StarTransformer,
  type TextInput,
} from '../models/star/index.js'
import type { MultiScaleQuantizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { releaseIdleMemory, Tensor } from '../tensor/index.js'
import { checkConditions, type ScaleConditions } from './conditions.js'
import { type GraphPool, withMemory } from './graphs.js'
import { textsOf, type WeightedText } from './guidance.js'
import { type NoiseSource, seededNoise } from './noise.js'
import { EagerRunner, type ScaleRunner } from './runner.js'
import { sampleScale } from './scale.js'
import { type SamplingOptions, type SamplingSettings, samplingSettings } from './settings.js'
import { speedOf } from './speed.js'
import type { StableStepEvent } from './stable.js'

/** What a generation shows after each scale. Its tensors are valid until the callback (or its promise) is done. */
export interface ScaleEvent {
  scaleIndex: number
  /** Number of scales. */
  scales: number
  /** f̂ so far: (B, h, w, Z). */
  fHat: Tensor
  /** The tokens drawn at the scale, i32 (B, h·w), given ones not put in; null with moreSmooth, which draws none. */
  tokens: Tensor | null
}

export interface GenerateOptions {
  transformer: StarTransformer
  quantizer: MultiScaleQuantizer
  /** Makes stable sampling possible from scale `settings.stableFrom` on. */
  samplerHead?: SamplerHead | null
  /** Encoded texts, each once, in one batch: the prompts, and for guidance the prompt "". */
  text: TextInput
  /**
   * Text of each image, a row of `text`, or several with weights, as many for each image; a row may come several times. Default: one
   * image for each text but `empty`.
   */
  prompts?: readonly (number | readonly WeightedText[])[]
  /** Row of the prompt "" (or what pictures are guided away from) for all images, or a row for each. Not needed with cfg 0. */
  empty?: number | readonly number[]
  /** In the mode `first-sample`: each image is as it would be in a batch of its own. Default: as the reference implementation. */
  independent?: boolean
  /** What is given of each scale before it is drawn; null or missing: nothing. */
  conditions?: readonly (ScaleConditions | null)[]
  settings?: SamplingOptions
  /** The last scale's token map, from which those of all scales follow (`gridsOf`). Default: the square that the models are made for. */
  grid?: Grid
  /** Random numbers; default: made from settings.seed. */
  noise?: NoiseSource
  /** Recorded scales of earlier generations of the same shape, used and added to on devices that can record. */
  graphs?: GraphPool
  onScale?: (event: ScaleEvent) => void | Promise<void>
  /** Told of each step of stable sampling. */
  onStep?: (event: StableStepEvent) => void
  signal?: AbortSignal
}

/**
 * Samples f̂ for each prompt. The loop gives way to the event loop between scales.
 * @returns f̂ (B, h, w, Z), owned by the caller
 * @throws ERR_ABORTED when `signal` fires, ERR_SHAPE or ERR_ARGUMENT for texts that do not fit, ERR_CONFIG for wrong settings
 */
export async function generate(options: GenerateOptions): Promise<Tensor> {
  const { transformer, quantizer, samplerHead = null, grid, onScale, onStep, signal } = options
  const settings = samplingSettings(options.settings)
  checkModels(transformer, quantizer)
  const ranges = transformer.levelsOf(grid)
  // Both have the tables of this shape from here on, and keep them beside recordings.
  samplerHead?.levelsOf(grid)
  const scales = ranges.length
  const speed = speedOf(settings.speed, scales)
  const noise = options.noise ?? seededNoise(settings.seed, transformer.device)
  const models = { transformer, quantizer, samplerHead, settings, speed, grid, onStep }
  const { texts: batch, images, parts, shares } = samplesOf(options, settings.cfg > 0)
  const halfFrom = settings.cfg > 0 ? speed?.unguidedFrom : null
  const texts = { ...batch, halfFrom, pruning: speed?.prune }
  const conditions = checkConditions(options.conditions, images, ranges)
  const runner = openRunner(options, { texts, settings, parts })
  using weights = parts > 1 ? Tensor.from(shares, [shares.length, 1, 1], { device: transformer.device }) : null
  const mix = weights && { parts, weights }
  try {
    for (let k = 0; k < scales; k++) {
      if (k > 0) {
        releaseIdleMemory(transformer.device)
        await setImmediate()
      }
      if (signal?.aborted)
        throw new StarError('ERR_ABORTED', `the generation was aborted before scale ${k + 1} of ${scales}`, {
          cause: signal.reason,
        })
      const given = conditions[k] ?? null
      const { fHat, tokens } = runner.run(k, { noise, given, mix }, (input) => sampleScale(models, input))
      await onScale?.({ scaleIndex: k, scales, fHat, tokens })
    }
    return runner.result()
  } finally {
    runner.release()
    releaseIdleMemory(transformer.device)
  }
}

/** A runner of recorded scales where that is possible; steps of stable sampling cannot be watched in a recording. */
function openRunner(
  options: GenerateOptions,
  { texts, settings, parts }: { texts: DecoderOptions; settings: SamplingSettings; parts: number },
): ScaleRunner {
  const { transformer, samplerHead, graphs, onStep, conditions, text } = options
  const stable = Boolean(samplerHead)
  const recorded = onStep ? null : graphs?.borrow({ transformer, texts, settings, stable, conditions, parts })
  if (recorded) return recorded
  return new EagerRunner(withMemory(graphs, text.pooled.device, () => new ScaleDecoder(transformer, texts)))
}

/** What a batch is made of. */
interface Samples {
  texts: DecoderOptions
  images: number
  /** Texts of each image, and their shares in the order of the batch. */
  parts: number
  shares: Float32Array
}

/**
 * The texts of the batch [images…] or, under guidance, [images…, ""…]; where images have several texts, [first texts…, second texts…,
 * …] in place of each of these.
 */
function samplesOf({ text, prompts, empty, independent, grid }: GenerateOptions, guided: boolean): Samples {
  const count = text.pooled.dim(0)
  const all = Array.from({ length: count }, (_, i) => i)
  const given = prompts ?? all.filter((i) => i !== empty && !(Array.isArray(empty) && empty.includes(i)))
  const { rows, parts, shares } = textsOf(given)
  checkRows('prompts', rows, count)
  const images = given.length
  const attending = independent ? rows.length : 1
  if (!guided) return { texts: { text, rows, attending, grid }, images, parts, shares }
  const empties = typeof empty === 'number' ? given.map(() => empty) : (empty ?? [])
  if (empties.length !== images)
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: guidance needs the row of the empty prompt, once or once per image (${images}); ` +
        `given ${empty === undefined ? 'none' : empties.length}; encode "" with the prompts and pass its row as "empty", or set cfg to 0`,
    )
  checkRows('empty', empties, count)
  const away = Array.from({ length: parts }, () => empties).flat()
  return { texts: { text, rows: [...rows, ...away], attending, grid }, images, parts, shares }
}

function checkRows(name: string, rows: readonly number[], count: number): void {
  if (rows.length > 0 && rows.every((i) => Number.isInteger(i) && i >= 0 && i < count)) return
  throw new StarError(
    'ERR_ARGUMENT',
    `generate: ${name} is [${rows.join(', ')}], expected at least one row of the ${count} texts`,
  )
}

function checkModels(transformer: StarTransformer, quantizer: MultiScaleQuantizer): void {
  const { patchNums, vocabSize, latentChannels } = transformer.config
  const [rows, cols] = quantizer.embedding.weight.shape
  if (quantizer.scales !== patchNums.length || rows !== vocabSize || cols !== latentChannels)
    throw new StarError(
      'ERR_CONFIG',
      `generate: the transformer has ${patchNums.length} scales and ${vocabSize} tokens of ${latentChannels} channels, ` +
        `the tokenizer ${quantizer.scales} and ${rows} of ${cols}; use the tokenizer the transformer was trained with`,
    )
}
