/** What fixes the shape of a tokenizer. The defaults are those of the released one (vae_ch160v4096z32). */
import { z } from 'zod'

const count = z.int().positive()

export const tokenizerSchema = z
  .strictObject({
    /** Channels of the first level; every level has a multiple of it. */
    baseChannels: count.default(160),
    /** Channel multiplier of each level, finest first. Each level but the last halves the image. */
    channelMultipliers: z.array(count).min(1).default([1, 1, 2, 2, 4]),
    /** Residual blocks a level in the encoder; the decoder has one more. */
    residualBlocks: count.default(2),
    /** Spatial attention after each block of the coarsest level. */
    levelAttention: z.boolean().default(true),
    /** Spatial attention between the two blocks in the middle. */
    middleAttention: z.boolean().default(true),
    /** Number of codebook rows, V. */
    vocabSize: count.default(4096),
    /** Channels of the latent and of a codebook row, Z. */
    latentChannels: count.default(32),
    /** Sides p_k of the token maps, coarse to fine; the last one is the side of the latent. */
    patchNums: z.array(count).min(1).default([1, 2, 3, 4, 5, 6, 8, 10, 13, 16]),
    /** How many φ convolutions the scales share: a count, or one for each scale. */
    phi: z.union([count, z.literal('per-scale')]).default(4),
    /** Weight of the convolution inside φ(x) = (1 − ratio)·x + ratio·conv(x). */
    phiRatio: z.number().min(0).max(1).default(0.5),
    /** Weight β of the commitment term of the quantizer's loss. */
    commitment: z.number().nonnegative().default(0.25),
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
