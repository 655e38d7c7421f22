/** One scale of a generation: from the transformer's features to f̂. */
import type { Grid } from '../models/grid.js'
import type { SamplerHead, ScaleDecoder, StarTransformer } from '../models/star/index.js'
import type { MultiScaleQuantizer } from '../models/tokenizer/index.js'
import { affine, concat, draw, gumbelMix, noGrad, reshape, scope, slice, type Tensor } from '../tensor/index.js'
import { nudged, putGiven, type ScaleConditions } from './conditions.js'
import { guidanceStrength, guide, type Mix, mixed, repeated } from './guidance.js'
import type { ScaleSources } from './runner.js'
import { progress, type SamplingSettings, smoothing, tokenFilter } from './settings.js'
import type { SpeedSettings } from './speed.js'
import { type StableStepEvent, stableTokens } from './stable.js'

/** What a scale adds to a generation. */
export interface ScaleStep {
  fHat: Tensor
  next: Tensor | null
  tokens: Tensor | null
}

/** What is the same for all scales of a generation. */
export interface ScaleModels {
  transformer: StarTransformer
  quantizer: MultiScaleQuantizer
  samplerHead: SamplerHead | null
  settings: SamplingSettings
  /** The last scale's map, where pictures are no squares of the model's side. */
  grid?: Grid
  /** What is left out of the last scales; the decoder leaves it out as well. */
  speed: SpeedSettings | null
  onStep?: (event: StableStepEvent) => void
}

/** What a scale is made of. */
export interface ScaleInput extends ScaleSources {
  /** Scale index; the decoder takes scales in order. */
  k: number
  decoder: ScaleDecoder
  /** f̂ before this scale, null at the first. */
  fHat: Tensor | null
  /** (B, h·w, Z): f̂ at the size of this scale, null at the first. */
  input: Tensor | null
}

/** One scale: features, guided logits, tokens or a soft mix, f̂ and the next input. */
export function sampleScale(
  models: ScaleModels,
  { k, decoder, noise, given, mix, fHat, input }: ScaleInput,
): ScaleStep {
  const { transformer, quantizer, samplerHead, speed, grid, onStep } = models
  return noGrad(() =>
    scope(() => {
      const scales = transformer.levels.length
      const late = models.settings.cfg > 0 && k >= (speed?.unguidedFrom ?? scales)
      const settings = late ? { ...models.settings, cfg: 0, moreSmooth: false } : models.settings
      const isGuided = settings.cfg > 0
      const sharper = late && k === scales - 1 ? 1 / speed!.temperature : 1
      /** What tokens are drawn from, of the logits of both halves or, without guidance (null), of the prompts' half. */
      const combined = (logits: Tensor, strength: number | null): Tensor => {
        const one = mixed(
          guided(logits, strength, (own) => ledTo(given, own, mix)),
          mix,
        )
        return sharper === 1 ? one : affine(one, null, sharper, 0, 0)
      }
      const features = decoder.step(k, input && repeated(input, { guided: isGuided, mix }))
      const next = (codes: Tensor) =>
        quantizer.nextInput(k, fHat, given ? putGiven(quantizer, codes, given) : codes, grid)
      const transformerLogits = () => {
        const strength = isGuided ? guidanceStrength(settings.cfg, k, scales) : null
        // At strength 0 the other half's logits are not needed.
        if (strength !== 0) return combined(transformer.logits(features), strength)
        return combined(transformer.logits(slice(features, 0, 0, features.dim(0) / 2)), null)
      }
      if (samplerHead && k >= settings.stableFrom) {
        const pooled = slice(decoder.pooled, 0, 0, features.dim(0))
        const codebook = quantizer.embedding.weight
        const tokens = stableTokens({
          head: samplerHead,
          codebook,
          features,
          pooled,
          settings,
          noise,
          k,
          grid,
          mix,
          transformerLogits,
          combined,
          onStep,
        })
        return { ...next(quantizer.embedIndices(tokens)), tokens }
      }
      const logits = transformerLogits()
      const [batch, length, vocab] = logits.shape
      const rows = reshape(logits, [batch * length, vocab])
      if (settings.moreSmooth) {
        const codebook = quantizer.embedding.weight
        const gumbel = noise.gumbel(batch * length, vocab)
        // As in the reference implementation, the soft mix is of all tokens: top-k and top-p concern drawn tokens only.
        const mix = gumbelMix(rows, gumbel, codebook, { topK: 0, topP: 0, ...smoothing(progress(k, scales)) })
        return { ...next(reshape(mix, [batch, length, codebook.dim(1)])), tokens: null }
      }
      const tokens = reshape(draw(rows, noise.draw(batch * length), tokenFilter(settings, k)).ids, [batch, length])
      return { ...next(quantizer.embedIndices(tokens)), tokens }
    }),
  )
}

/** Guidance of logits whose prompts' half is changed before. */
function guided(logits: Tensor, strength: number | null, change: (own: Tensor) => Tensor): Tensor {
  if (strength === null) return change(logits)
  const half = logits.dim(0) / 2
  const own = slice(logits, 0, 0, half)
  const changed = change(own)
  return guide(changed === own ? logits : concat([changed, slice(logits, 0, half, 2 * half)], 0), strength)
}

/** The logits of each text of the images, led to the given tokens where these say so. */
function ledTo(given: ScaleConditions | null, logits: Tensor, mix: Mix | null): Tensor {
  if (!given?.nudge) return logits
  const ofAll = (rows: Tensor): Tensor => repeated(rows, { guided: false, mix })
  return nudged(logits, ofAll(given.tokens), ofAll(given.nudge))
}
