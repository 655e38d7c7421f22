/** Configuration of a sampler head's training. */
import { z } from 'zod'
import { firstStableScale, initScalesSchema } from '../../../models/star/config.js'
import { baseKeys } from '../../config/base.js'
import { commonKeys, textDropout } from '../../config/common.js'
import { startSchema } from '../../config/start.js'

export const samplerRunSchema = z.strictObject({
  kind: z.literal('sampler').describe('a sampler head is trained on a frozen model'),
  ...commonKeys,
  name: z.string().min(1).describe('name given to the exported model: the base with its sampler head'),
  base: z
    .string()
    .min(1)
    .describe('the trained model that the head stands on: name, folder or checkpoint; its weights stay as they are'),
  ...baseKeys,
  stableFrom: z.int().min(0).default(firstStableScale).describe('scale index from which on tokens are fixed in steps'),
  init: initScalesSchema.prefault({}),
  start: startSchema.optional(),
  textDropout,
})

export type SamplerRunConfig = z.output<typeof samplerRunSchema>
