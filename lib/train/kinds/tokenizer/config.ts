/** Configuration of a tokenizer's training. */
import { z } from 'zod'
import { adversarialSchema, perceptualSchema } from '../../../models/losses/config.js'
import { tokenizerSchema } from '../../../models/tokenizer/config.js'
import { commonKeys } from '../../config/common.js'
import { startSchema } from '../../config/start.js'

export const tokenizerRunSchema = z.strictObject({
  kind: z.literal('tokenizer').describe('an image tokenizer is trained'),
  ...commonKeys,
  model: tokenizerSchema,
  loss: z
    .strictObject({
      l1: z.number().min(0).default(1).describe('weight of the mean absolute error'),
      l2: z.number().min(0).default(1).describe('weight of the mean squared error'),
      detail: z.number().min(0).default(1).describe('weight of the edges’ error at three resolutions'),
      quantizer: z.number().min(0).default(1).describe('weight of the quantizer’s loss'),
      perceptual: perceptualSchema.optional(),
      adversarial: adversarialSchema.optional(),
    })
    .prefault({}),
  start: startSchema.optional(),
  train: z
    .enum(['all', 'decoder'])
    .default('all')
    .describe(
      'decoder: decoder and post_quant_conv alone are trained, while encoder, quantizer and codebook stay as `start` gives them, so that token maps stay the same',
    ),
  reviveEvery: z
    .int()
    .min(0)
    .default(50)
    .describe(
      'steps between revivals of unused codebook rows (they are placed on vectors of the current batch); 0 never revives',
    ),
  reviveUntil: z
    .number()
    .min(0)
    .max(1)
    .default(0.8)
    .describe('part of the steps after which no row is revived any more, so that the rest settles'),
})

export type TokenizerRunConfig = z.output<typeof tokenizerRunSchema>
