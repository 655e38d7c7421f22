/** Configuration of a transformer's training. */
import { z } from 'zod'
import { initScalesSchema, starOptionsSchema } from '../../../models/star/config.js'
import { commonKeys, textDropout } from '../../config/common.js'
import { startSchema } from '../../config/start.js'
import { progressiveSchema, scaleWeightsSchema, selfCorrectionSchema, tokenDropSchema } from './tokens.js'

export const transformerRunSchema = z.strictObject({
  kind: z.literal('transformer').describe('a transformer is trained on the tokens of a tokenizer'),
  ...commonKeys,
  name: z.string().min(1).describe('name given to the exported model'),
  tokenizer: z
    .string()
    .min(1)
    .describe('folder with a trained tokenizer: a tokenizer run’s `model` folder, or any model folder'),
  patchNums: z
    .array(z.int().min(1).max(512))
    .min(1)
    .max(100)
    .optional()
    .describe('sides of the token maps, coarse to fine; default: those that the tokenizer was trained with'),
  textEncoder: z
    .string()
    .min(1)
    .default('minilm-l6')
    .describe('minilm-l6, or a Hugging Face folder with a CLIP text model or a T5 model'),
  model: starOptionsSchema.omit({ patchNums: true, vocabSize: true, latentChannels: true, textWidth: true }),
  init: initScalesSchema.prefault({}),
  start: startSchema.optional(),
  recompute: z
    .boolean()
    .default(false)
    .describe('keep the input of each block alone and compute it again during backward: less memory, more time'),
  labelSmoothing: z.number().min(0).lt(1).default(0).describe('part of the target spread over all codes'),
  textDropout,
  scaleWeights: scaleWeightsSchema,
  selfCorrection: selfCorrectionSchema,
  tokenDrop: tokenDropSchema.optional(),
  progressive: progressiveSchema.optional(),
  sampling: z
    .strictObject({
      cfg: z.number().min(0).optional().describe('guidance'),
      topK: z.int().min(0).optional().describe('only the most probable tokens are drawn; 0: all'),
      topP: z.number().min(0).max(1).optional().describe('only tokens within this cumulative probability are drawn'),
    })
    .optional()
    .describe('settings that the exported model uses where a caller names none'),
})

export type TransformerRunConfig = z.output<typeof transformerRunSchema>
