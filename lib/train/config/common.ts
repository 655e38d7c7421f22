/** Run configuration: the keys that every kind of training has. A kind adds its own in `kinds/NAME/config.ts`. */
import { z } from 'zod'
import { dataSchema } from './data.js'
import { optimizerSchema } from './optimizer.js'
import type { StartConfig } from './start.js'
import { workSchema } from './work.js'

export const commonKeys = {
  runFolder: z.string().min(1).describe('folder of the run; a run resumes from the checkpoint it finds there'),
  seed: z.int().min(0).default(0).describe('of first weights, order of images, captions and dropout'),
  data: dataSchema,
  optimizer: optimizerSchema,
  precision: z
    .enum(['f32', 'f16', 'bf16'])
    .optional()
    .describe(
      'of weights, activations and gradients while computing; the weights that are stepped and saved are f32 always; default: bf16 on a GPU, f32 on the CPU',
    ),
  work: workSchema.prefault({}),
}

/** What every configuration of a run has. */
export type CommonConfig = z.output<z.ZodObject<typeof commonKeys>> & { start?: StartConfig }

/** Of the kinds that train on captions. */
export const textDropout = z
  .number()
  .min(0)
  .max(1)
  .default(0.1)
  .describe('chance that a prompt of more than 20 characters is replaced by "" (classifier-free guidance)')
