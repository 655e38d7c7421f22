/** What fixes the shape of a tokenizer. The defaults are those of the released one (vae_ch160v4096z32). */
import { z } from 'zod'

/** Beyond any model, and little enough that a wrong digit is an error and not gigabytes. */
const count = z
  .int()
  .positive()
  .max(1 << 20)
const few = z.int().positive().max(1000)

/** Sides of the scales' token maps. The largest published model has 14, up to a side of 64. */
const patchNumsSchema = z.array(z.int().positive().max(512)).min(1).max(100)

export const tokenizerSchema = z
  .strictObject({
    baseChannels: count.default(160).describe('channels of the first level; every level has a multiple of it'),
    channelMultipliers: z
      .array(few)
      .min(1)
      .max(12)
      .default([1, 1, 2, 2, 4])
      .describe('channel multiplier of each level, finest first. Each level but the last halves the image'),
    residualBlocks: few.default(2).describe('residual blocks a level in the encoder; the decoder has one more'),
    levelAttention: z.boolean().default(true).describe('spatial attention after each block of the coarsest level'),
    middleAttention: z.boolean().default(true).describe('spatial attention between the two blocks in the middle'),
    vocabSize: count.default(4096).describe('number of codebook rows, V'),
    latentChannels: count.default(32).describe('channels of the latent and of a codebook row, Z'),
    patchNums: patchNumsSchema
      .default([1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
      .describe('sides p_k of the token maps, coarse to fine; the last one is the side of the latent'),
    phi: z
      .union([few, z.literal('per-scale')])
      .default(4)
      .describe('how many φ convolutions the scales share: a count, or one for each scale'),
    phiRatio: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe('weight of the convolution inside φ(x) = (1 − ratio)·x + ratio·conv(x)'),
    commitment: z
      .number()
      .nonnegative()
      .default(0.25)
      .describe('weight β of the commitment term of the quantizer’s loss'),
  })
  .refine((c) => c.channelMultipliers.every((m) => (m * c.baseChannels) % 32 === 0), {
    message:
      'every level needs a multiple of 32 channels (GroupNorm has 32 groups): change baseChannels or channelMultipliers',
  })
  .refine((c) => c.patchNums.every((p, k) => k === 0 || p > c.patchNums[k - 1]), {
    message: 'patchNums must rise from scale to scale',
  })

/** A complete configuration. */
export type TokenizerConfig = z.output<typeof tokenizerSchema>
/** What a caller may leave out. */
export type TokenizerOptions = z.input<typeof tokenizerSchema>

/** Factor between the sides of image and latent. */
export const downsampling = (config: TokenizerConfig): number => 2 ** (config.channelMultipliers.length - 1)
/** Side of the latent, p_K. */
export const latentSide = (config: TokenizerConfig): number => config.patchNums[config.patchNums.length - 1]
/** Side of the images. */
export const imageSide = (config: TokenizerConfig): number => latentSide(config) * downsampling(config)
/** Number of tokens over all scales, L = Σ p_k². */
export const tokenCount = (config: TokenizerConfig): number => config.patchNums.reduce((sum, p) => sum + p * p, 0)
/** Side in pixels that each scale's tokens stand for. */
export const scaleSides = (config: TokenizerConfig): number[] => config.patchNums.map((p) => p * downsampling(config))
