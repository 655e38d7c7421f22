/** The generation loop: from encoded prompts to f̂, scale by scale. */
import { setImmediate } from 'node:timers/promises'
import {
  type DecoderOptions,
  type SamplerHead,
  ScaleDecoder,
  type StarTransformer,
  type TextInput,
} from '../models/star/index.js'
import type { MultiScaleQuantizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { concat, keep, noGrad, releaseIdleMemory, scope, Tensor } from '../tensor/index.js'
import type { GraphPool } from './graphs.js'
import { type NoiseSource, seededNoise } from './noise.js'
import { EagerRunner, type ScaleRunner } from './runner.js'
import { sampleScale } from './scale.js'
import { type SamplingOptions, type SamplingSettings, samplingSettings } from './settings.js'
import type { StableStepEvent } from './stable.js'

/** What a generation shows after each scale. Its tensors are valid until the callback (or its promise) is done. */
export interface ScaleEvent {
  scaleIndex: number
  /** Number of scales. */
  scales: number
  /** f̂ so far: (B, h, w, Z). */
  fHat: Tensor
  /** The scale's tokens, i32 (B, p²); null with moreSmooth, which draws none. */
  tokens: Tensor | null
  /** Decodes f̂ to images when asked: (B, H, W, 3) in [−1, 1], owned by the caller. @throws ERR_ARGUMENT without `decode` */
  preview(): Tensor
}

export interface GenerateOptions {
  transformer: StarTransformer
  quantizer: MultiScaleQuantizer
  /** Makes stable sampling possible from scale `settings.stableFrom` on. */
  samplerHead?: SamplerHead | null
  /** Encoded prompts, one image each. */
  text: TextInput
  /** The encoded prompt "": one for all images, or one for each. Not needed with cfg 0. */
  empty?: TextInput
  /** Prompt of each image, an index into `text`; default: one image a prompt. Repeat an index for several images of one prompt. */
  prompts?: readonly number[]
  settings?: SamplingOptions
  /** Random numbers; default: made from settings.seed. */
  noise?: NoiseSource
  /** Recorded scales of earlier generations of the same shape, used and added to on devices that can record. */
  graphs?: GraphPool
  /** Makes images of f̂ for previews. */
  decode?: (fHat: Tensor) => Tensor
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
  const { transformer, quantizer, samplerHead = null, onScale, onStep, signal, decode } = options
  const settings = samplingSettings(options.settings)
  checkModels(transformer, quantizer)
  const scales = transformer.levels.length
  const noise = options.noise ?? seededNoise(settings.seed, transformer.device)
  const models = { transformer, quantizer, samplerHead, settings, onStep }
  const runner = openRunner(options, settings)
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
      const { fHat, tokens } = runner.run(k, noise, (input) => sampleScale(models, input))
      await onScale?.({ scaleIndex: k, scales, fHat, tokens, preview: () => preview(fHat, decode) })
    }
    return runner.result()
  } finally {
    runner.release()
    releaseIdleMemory(transformer.device)
  }
}

/** A runner of recorded scales where that is possible; steps of stable sampling cannot be watched in a recording. */
function openRunner(options: GenerateOptions, settings: SamplingSettings): ScaleRunner {
  const { transformer, graphs, onStep } = options
  return withTexts(options, settings.cfg > 0, (texts) => {
    const recorded = onStep ? null : graphs?.borrow(transformer, texts, settings)
    return recorded ?? new EagerRunner(new ScaleDecoder(transformer, texts))
  })
}

/** The batch is [prompts…, ""…] under guidance. */
function withTexts<T>(
  { text, empty, prompts }: GenerateOptions,
  guided: boolean,
  use: (texts: DecoderOptions) => T,
): T {
  const count = text.pooled.dim(0)
  const images = prompts ?? Array.from({ length: count }, (_, i) => i)
  const outside = images.find((i) => !Number.isInteger(i) || i < 0 || i >= count)
  if (outside !== undefined || images.length === 0)
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: prompts are [${images.join(', ')}], expected at least one index of the ${count} prompts`,
    )
  if (!guided) return use({ text, rows: images })
  const empties = empty?.pooled.dim(0)
  if (!empty || (empties !== 1 && empties !== images.length) || empty.states.dim(1) !== text.states.dim(1))
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: guidance needs the empty prompt encoded to ${text.states.dim(1)} tokens, once or once per image (${images.length}); ` +
        `given ${empty ? `${empties} of ${empty.states.dim(1)} tokens` : 'none'}; pass it as "empty", or set cfg to 0`,
    )
  return noGrad(() =>
    scope(() => {
      const all = {
        states: concat([text.states, empty.states], 0),
        pooled: concat([text.pooled, empty.pooled], 0),
        mask: concatMasks(text, empty),
      }
      return use({
        text: all,
        rows: [...images, ...images.map((_, i) => count + (empties === 1 ? 0 : i))],
      })
    }),
  )
}

function concatMasks(...texts: TextInput[]): Tensor | null {
  if (texts.every((t) => t.mask === null)) return null
  const masks = texts.map(({ mask, states }) => {
    const [count, length] = states.shape
    return mask ?? Tensor.from(new Uint8Array(count * length).fill(1), [count, length], { device: states.device })
  })
  return concat(masks, 0)
}

function preview(fHat: Tensor, decode: GenerateOptions['decode']): Tensor {
  if (!decode) throw new StarError('ERR_ARGUMENT', 'generate: a preview was asked for without a decoder; pass "decode"')
  return keep(noGrad(() => scope(() => decode(fHat))))
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
