/** The generation loop: from encoded prompts to f̂, scale by scale. */
import { setImmediate } from 'node:timers/promises'
import { type SamplerHead, ScaleDecoder, type StarTransformer, type TextInput } from '../models/star/index.js'
import type { MultiScaleQuantizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { concat, draw, gumbelMix, keep, noGrad, reshape, scope, slice, Tensor } from '../tensor/index.js'
import { guidanceStrength, guide } from './guidance.js'
import { type NoiseSource, seededNoise } from './noise.js'
import {
  progress,
  type SamplingOptions,
  type SamplingSettings,
  samplingSettings,
  smoothing,
  tokenFilter,
} from './settings.js'
import { type StableStepEvent, stableTokens } from './stable.js'

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
  const decoder = openDecoder(options, settings.cfg > 0)
  let fHat: Tensor | null = null
  let input: Tensor | null = null
  try {
    for (let k = 0; k < scales; k++) {
      if (k > 0) await setImmediate()
      if (signal?.aborted)
        throw new StarError('ERR_ABORTED', `the generation was aborted before scale ${k + 1} of ${scales}`, {
          cause: signal.reason,
        })
      const step: ScaleStep = sampleScale({
        decoder,
        transformer,
        quantizer,
        samplerHead,
        settings,
        noise,
        onStep,
        k,
        fHat,
        input,
      })
      fHat?.dispose()
      input?.dispose()
      fHat = keep(step.fHat)
      input = step.next && keep(step.next)
      const tokens = step.tokens && keep(step.tokens)
      try {
        await onScale?.({ scaleIndex: k, scales, fHat, tokens, preview: () => preview(step.fHat, decode) })
      } finally {
        tokens?.dispose()
      }
    }
    const result = fHat!
    fHat = null
    return result
  } finally {
    decoder.dispose()
    fHat?.dispose()
    input?.dispose()
  }
}

interface ScaleStep {
  fHat: Tensor
  next: Tensor | null
  tokens: Tensor | null
}

interface ScaleInput extends Pick<GenerateOptions, 'transformer' | 'quantizer' | 'samplerHead' | 'onStep'> {
  decoder: ScaleDecoder
  settings: SamplingSettings
  noise: NoiseSource
  k: number
  fHat: Tensor | null
  input: Tensor | null
}

/** One scale: features, guided logits, tokens or a soft mix, f̂ and the next input. */
function sampleScale(given: ScaleInput): ScaleStep {
  const { decoder, transformer, quantizer, samplerHead, settings, noise, k, fHat, input } = given
  return noGrad(() =>
    scope(() => {
      const scales = transformer.levels.length
      const guided = settings.cfg > 0
      const features = decoder.step(k, input && guided ? concat([input, input], 0) : input)
      const transformerLogits = () =>
        guidedLogits(transformer, features, guided ? guidanceStrength(settings.cfg, k, scales) : null)
      if (samplerHead && k >= settings.stableFrom && !settings.moreSmooth && settings.version !== 'old') {
        const { pooled } = decoder
        const codebook = quantizer.embedding.weight
        const tokens = stableTokens({
          head: samplerHead,
          codebook,
          features,
          pooled,
          settings,
          noise,
          k,
          transformerLogits,
          onStep: given.onStep,
        })
        return { ...quantizer.nextInput(k, fHat, quantizer.embedIndices(tokens)), tokens }
      }
      const logits = transformerLogits()
      const [batch, length, vocab] = logits.shape
      const rows = reshape(logits, [batch * length, vocab])
      if (settings.moreSmooth) {
        const codebook = quantizer.embedding.weight
        const gumbel = noise.gumbel(batch * length, vocab)
        // As in the published program, the soft mix is of all tokens: top-k and top-p concern drawn tokens only.
        const mix = gumbelMix(rows, gumbel, codebook, { topK: 0, topP: 0, ...smoothing(progress(k, scales)) })
        return { ...quantizer.nextInput(k, fHat, reshape(mix, [batch, length, codebook.dim(1)])), tokens: null }
      }
      const tokens = reshape(draw(rows, noise.draw(batch * length), tokenFilter(settings, k)).ids, [batch, length])
      return { ...quantizer.nextInput(k, fHat, quantizer.embedIndices(tokens)), tokens }
    }),
  )
}

/** Logits of the prompts' half. At strength 0 the other half's logits are not needed. */
function guidedLogits(transformer: StarTransformer, features: Tensor, strength: number | null): Tensor {
  if (strength === null) return transformer.logits(features)
  if (strength === 0) return transformer.logits(slice(features, 0, 0, features.dim(0) / 2))
  return guide(transformer.logits(features), strength)
}

/** The batch is [prompts…, ""…] under guidance. */
function openDecoder({ transformer, text, empty, prompts }: GenerateOptions, guided: boolean): ScaleDecoder {
  const count = text.pooled.dim(0)
  const images = prompts ?? Array.from({ length: count }, (_, i) => i)
  const outside = images.find((i) => !Number.isInteger(i) || i < 0 || i >= count)
  if (outside !== undefined || images.length === 0)
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: prompts are [${images.join(', ')}], expected at least one index of the ${count} prompts`,
    )
  if (!guided) return new ScaleDecoder(transformer, { text, rows: images })
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
      return new ScaleDecoder(transformer, {
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
