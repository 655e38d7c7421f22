/** Run configuration, component `start`: what a run begins with in place of first weights drawn at random. */
import { z } from 'zod'

export const startSchema = z
  .strictObject({
    weights: z
      .string()
      .min(1)
      .describe(
        'model folder, published checkpoint, checkpoint of a run (step-N.safetensors), or name on Hugging Face',
      ),
    optimizer: z
      .enum(['reset', 'keep', 'resume'])
      .default('reset')
      .describe(
        'reset: begin without the optimizer’s averages; keep: take them along, which the checkpoint of a run holds; resume: of an ar-ckpt-*.pth of the reference implementation, take them along and begin at its epoch and step',
      ),
  })
  .describe('weights that a new run begins with; a run that resumes from its own checkpoint takes none')

export type StartConfig = z.output<typeof startSchema>
