/** Configuration of a sampler head's training. */
import { z } from 'zod'
import { firstStableScale, initScalesSchema } from '../../../models/star/config.js'
import { commonKeys, textDropout } from '../../config/common.js'
import { startSchema } from '../../config/start.js'
import type { SourceReference } from '../../data/token-data.js'

export const samplerRunSchema = z.strictObject({
  kind: z.literal('sampler').describe('a sampler head is trained on a frozen model'),
  ...commonKeys,
  name: z.string().min(1).describe('name given to the exported model: the base with its sampler head'),
  base: z
    .string()
    .min(1)
    .describe('the trained model that the head stands on: name, folder or checkpoint; its weights stay as they are'),
  tokenizer: z.string().min(1).optional().describe('of a checkpoint as base: its tokenizer, where it is not beside it'),
  textEncoder: z.string().min(1).optional().describe('of a checkpoint as base: the text encoder it was trained with'),
  patchNums: z
    .array(z.int().min(1).max(512))
    .min(1)
    .max(100)
    .optional()
    .describe('of a checkpoint as base: sides of its token maps, where it does not say them'),
  stableFrom: z.int().min(0).default(firstStableScale).describe('scale index from which on tokens are fixed in steps'),
  init: initScalesSchema.prefault({}),
  start: startSchema.optional(),
  textDropout,
})

export type SamplerRunConfig = z.output<typeof samplerRunSchema>

/** The model that the head stands on. */
export const sourceOf = ({ base, tokenizer, patchNums, textEncoder }: SamplerRunConfig): SourceReference => ({
  name: base,
  options: { tokenizer, patchNums, textEncoder },
})
