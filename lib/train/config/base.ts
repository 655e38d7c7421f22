/** Run configuration: the trained model that a run stands on, as keys of the kinds that leave its weights as they are. */
import { z } from 'zod'

/** What a checkpoint as base does not say by itself; a model folder says everything. */
export const baseKeys = {
  tokenizer: z.string().min(1).optional().describe('of a checkpoint as base: its tokenizer, where it is not beside it'),
  textEncoder: z.string().min(1).optional().describe('of a checkpoint as base: the text encoder it was trained with'),
  patchNums: z
    .array(z.int().min(1).max(512))
    .min(1)
    .max(100)
    .optional()
    .describe('of a checkpoint as base: sides of its token maps, where it does not say them'),
}

interface BaseConfig {
  base: string
  tokenizer?: string
  textEncoder?: string
  patchNums?: number[]
}

/** Where the base comes from. */
export const baseSource = ({ base, tokenizer, patchNums, textEncoder }: BaseConfig) => ({
  name: base,
  options: { tokenizer, patchNums, textEncoder },
})
