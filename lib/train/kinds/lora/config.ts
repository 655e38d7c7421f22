/** Configuration of the training of a LoRA. */
import { z } from 'zod'
import { loraTargetNames } from '../../../models/lora/targets.js'
import { baseKeys } from '../../config/base.js'
import { commonKeys, textDropout } from '../../config/common.js'
import { scaleWeightsSchema } from '../transformer/tokens.js'

const priorSchema = z
  .strictObject({
    prompts: z
      .array(z.string().min(1))
      .default([])
      .describe(
        'prompts that the model draws well and should go on drawing so: of the same kind of things, without the style',
      ),
    promptFile: z
      .string()
      .min(1)
      .optional()
      .describe('text file with more of them, a line each, read when a run begins; hundreds keep more than a few'),
    pictures: z
      .int()
      .min(1)
      .max(100_000)
      .optional()
      .describe(
        'pictures that the model draws of them, once, when the run begins, each in all shapes of data.buckets; default: one of each',
      ),
    weight: z.number().min(0).default(1).describe('what their loss counts beside that of the images'),
  })
  .superRefine(({ prompts, promptFile }, context) => {
    if (prompts.length === 0 && promptFile === undefined)
      context.addIssue({ code: 'custom', message: 'there are no prompts: give prompts or promptFile' })
  })
  .describe(
    'keeps what the model knew (prior preservation): each step also trains on as many pictures of the model’s own, which doubles its time',
  )

export const loraRunSchema = z.strictObject({
  kind: z.literal('lora').describe('low-rank updates of a frozen model are trained, on few images'),
  ...commonKeys,
  name: z.string().min(1).describe('name of the LoRA in the log and in checkpoints'),
  base: z
    .string()
    .min(1)
    .describe('the trained model that is fine-tuned: name, folder or checkpoint; its weights stay as they are'),
  ...baseKeys,
  baseDtype: z
    .literal('int8')
    .optional()
    .describe(
      'holds the matrices of the frozen model in 8 bits, a quarter of f32 and half of 16 bits; default: as `precision`',
    ),
  rank: z.int().min(1).max(1024).default(8).describe('rank of the updates: more hold more, and take more memory'),
  alpha: z
    .number()
    .positive()
    .optional()
    .describe('the updates count alpha/rank; default: the rank, so that they count once'),
  targets: z
    .array(z.enum(loraTargetNames))
    .min(1)
    .default([...loraTargetNames])
    .describe('matrices of each block that are updated'),
  recompute: z
    .boolean()
    .default(false)
    .describe('keep the input of each block alone and compute it again during backward: less memory, more time'),
  textDropout,
  scaleWeights: scaleWeightsSchema,
  prior: priorSchema.optional(),
})

export type LoraRunConfig = z.output<typeof loraRunSchema>
