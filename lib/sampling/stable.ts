/**
 * Causal-driven stable sampling (STAR, section of that name): the tokens of a scale are fixed in steps, each step knowing
 * those fixed before.
 */
import type { Grid } from '../models/grid.js'
import type { SamplerHead } from '../models/star/index.js'
import { cast, draw, embedding, mul, reshape, scope, type Tensor, unmask, zeros } from '../tensor/index.js'
import { type Mix, repeated } from './guidance.js'
import type { NoiseSource } from './noise.js'
import { type SamplingSettings, tokenFilter } from './settings.js'
import { unmaskSchedule } from './unmask.js'

/** Steps of a scale, and of the largest scales in version '1024'. */
const stepCount = 8
const stepCountOfLargest = 15
const firstLargest = 13
/** Steps in which the order of fixing is random. */
const randomSteps = 5

/** What a generation shows after each step. Its tensors are valid until the callback returns. */
export interface StableStepEvent {
  scaleIndex: number
  step: number
  steps: number
  /** Tokens drawn in this step for all positions: i32 (B, n). */
  drawn: Tensor
  /** Tokens fixed so far (0 where open): i32 (B, n). */
  tokens: Tensor
  /** 1 where a token is fixed: u8 (B, n). */
  known: Tensor
}

export interface StableOptions {
  head: SamplerHead
  /** (V, Z) */
  codebook: Tensor
  /**
   * The transformer's features of the scale, the prompts' half and, with guidance, the half of the empty prompt: (B or 2B, n, C),
   * times the number of texts of each image.
   */
  features: Tensor
  /** Text vectors of the same rows. */
  pooled: Tensor
  settings: SamplingSettings
  noise: NoiseSource
  /** Scale index. */
  k: number
  /** The last scale's map, where pictures are no squares of the model's side. */
  grid?: Grid
  /** Several texts of each image; default: one. */
  mix?: Mix | null
  /** The transformer's own guided logits (B, n, V). */
  transformerLogits: () => Tensor
  /** Makes the head's own logits of both halves, or of the prompts' half (strength null), those that tokens are drawn from. */
  combined: (logits: Tensor, strength: number | null) => Tensor
  onStep?: (event: StableStepEvent) => void
}

/**
 * The scale's tokens, i32 (B, n). In version '1024' the first steps of scales before the 14th draw from the transformer and
 * fix twice: as many as the schedule says of the most probable among all positions, known ones counted, then as many open
 * ones in random order, so that a scale may be complete early.
 */
export function stableTokens(options: StableOptions): Tensor {
  const { head, codebook, features, pooled, settings, noise, k, grid, mix = null, onStep } = options
  const guided = settings.cfg > 0
  const batch = features.dim(0) / (guided ? 2 : 1) / (mix?.parts ?? 1)
  const length = features.dim(1)
  const early1024 = settings.version === '1024' && k < firstLargest
  const steps = settings.version === '1024' && k >= firstLargest ? stepCountOfLargest : stepCount
  const filter = tokenFilter(settings, k)
  const device = features.device
  const ids = zeros([batch, length], { dtype: 'i32', device })
  const known = zeros([batch, length], { dtype: 'u8', device })
  const ofTransformer = early1024 ? options.transformerLogits() : null // (B, n, V)
  unmaskSchedule(steps, length).forEach((fix, step) => {
    scope(() => {
      const random = step < randomSteps
      const logits = ofTransformer && random ? ofTransformer : headLogits()
      const rows = reshape(logits, [batch * length, codebook.dim(0)])
      const result = draw(rows, noise.draw(batch * length), filter)
      const drawn = reshape(result.ids, [batch, length])
      const probability = reshape(result.probability, [batch, length])
      if (early1024 && random) unmask({ ids, known, drawn, score: probability, fix, amongAll: true })
      unmask({ ids, known, drawn, score: random ? noise.order(batch, length) : probability, fix })
      onStep?.({ scaleIndex: k, step, steps, drawn, tokens: ids, known })
    })
  })
  return ids

  /** Logits of the sampler head (B, n, V), guided with the full strength. */
  function headLogits(): Tensor {
    const fixed = mul(
      reshape(embedding(codebook, reshape(ids, [batch * length])), [batch, length, codebook.dim(1)]),
      reshape(cast(known, 'f32'), [batch, length, 1]),
    ) // (B, n, Z)
    const rows = repeated(fixed, { guided, mix })
    const logits = head.forward({ rows, features, pooled, begin: k, end: k + 1, grid })
    return options.combined(logits, guided ? settings.cfg : null)
  }
}
