/** Settings of a generation that concern tokens, not models. */
import { z } from 'zod'
import { parseConfig } from '../config/parse-config.js'
import { firstStableScale } from '../models/star/index.js'
import { pixelRules } from '../models/tokenizer/index.js'
import { speedNames, speedSchema } from './speed.js'

/** Rules of the reference implementation's sampling versions. */
export const sampleVersions = ['1024', 'new', 'old'] as const
/** A rule for guidance and filters by scale. */
export type SampleVersion = (typeof sampleVersions)[number]

export const samplingSchema = z.strictObject({
  cfg: z.number().min(0).default(4).describe('strength of classifier-free guidance at the last scale; 0 runs without'),
  topK: z.int().min(0).default(600).describe('draw from the k most probable tokens; 0: from all'),
  topP: z
    .number()
    .min(0)
    .max(1)
    .default(0.8)
    .describe('draw from the most probable tokens that make up this probability; 0: from all'),
  seed: z.int().min(0).default(42).describe('of the random numbers: the same seed gives the same picture'),
  moreSmooth: z
    .boolean()
    .default(false)
    .describe(
      'a soft mix of codebook rows (Gumbel-softmax of all tokens) in place of one drawn row, at scales that no sampler head draws',
    ),
  version: z
    .enum(sampleVersions)
    .default('1024')
    .describe(
      'old: top-p 0.8 and a top-k that narrows from scale index 9 on; 1024: more steps and two rounds of stable sampling',
    ),
  stableFrom: z
    .int()
    .min(0)
    .default(firstStableScale)
    .describe('scale index from which on a model with a sampler head fixes its tokens in steps'),
  speed: z
    .union([z.enum(speedNames), speedSchema])
    .optional()
    .describe(
      'full (the default); fast: guidance ends before the last scales; turbo: most tokens of the last scales are left out too; or what exactly is left out',
    ),
  pixels: z
    .enum(pixelRules)
    .optional()
    .describe(
      'bytes of values between two bytes: round to the nearest (default), or truncate as the reference implementation',
    ),
})

/** How tokens are drawn, complete. */
export type SamplingSettings = z.output<typeof samplingSchema>
/** How tokens are drawn; what is left out takes the model's settings, or the default. */
export type SamplingOptions = z.input<typeof samplingSchema>

/** Fills in defaults and checks settings. @throws ERR_CONFIG with every problem in one line */
export const samplingSettings = (options: SamplingOptions = {}): SamplingSettings =>
  parseConfig(samplingSchema, options, 'the sampling settings')

/** What a scale's tokens are drawn from. */
export interface TokenFilter {
  topK: number
  topP: number
}

/** The filter of scale `k`: as set, or by the rule of version 'old'. */
export function tokenFilter(
  { version, topK, topP }: Pick<SamplingSettings, 'version' | 'topK' | 'topP'>,
  k: number,
): TokenFilter {
  if (version !== 'old') return { topK, topP }
  return { topK: k < 9 ? topK : k < 12 ? 300 : 100, topP: 0.8 }
}

/** k/(K − 1): how far along the scales are, from 0 to 1. */
export const progress = (k: number, scales: number): number => (scales > 1 ? k / (scales - 1) : 0)

/** Gumbel-softmax of `moreSmooth` at a scale: factor on the logits and temperature. */
export function smoothing(ratio: number): { factor: number; temperature: number } {
  return { factor: 1 + ratio, temperature: Math.max(0.27 * (1 - 0.95 * ratio), 0.005) }
}
