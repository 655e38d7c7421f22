/** Configuration of which tokens a training step computes, and what they weigh in the loss. */
import { z } from 'zod'

export const scaleWeightsSchema = z
  .union([z.enum(['tokens', 'side', 'equal']), z.array(z.number().min(0)).min(1)])
  .default('tokens')
  .describe(
    'what each scale counts in the loss: by its number of tokens (as in the reference implementation), by its side, equally, or a weight for each scale; the coarse scales, which decide what a picture shows, count more with side',
  )

export const selfCorrectionSchema = z
  .number()
  .min(0)
  .max(1)
  .default(0)
  .describe(
    'largest part of the fed tokens that is exchanged for near codes, from none to this a sample; the tokens of later scales then code what that left over, so that the model learns to mend its own errors (0.1 to 0.3 is usual)',
  )

export const tokenDropSchema = z
  .strictObject({
    fromScale: z.int().min(1).describe('index of the first scale whose tokens may be left out, the coarsest being 0'),
    keep: z.int().min(1).describe('tokens over all scales that a step keeps'),
  })
  .describe('leaves tokens of the fine scales out at random, other ones every step, which saves memory and time')

export const progressiveSchema = z
  .strictObject({
    share: z.number().gt(0).max(1).describe('part of all steps after which every scale is trained (pg)'),
    firstScale: z
      .int()
      .min(0)
      .default(4)
      .describe('index of the finest scale trained at the start, the coarsest being 0 (pg0)'),
    warmupSteps: z
      .number()
      .min(0)
      .optional()
      .describe('steps over which the loss of a new scale gains its full weight; default: a 300th of all steps'),
    warmupEpochs: z.number().min(0).optional().describe('the same in epochs, in place of warmupSteps (pgwp)'),
  })
  .superRefine(({ warmupSteps, warmupEpochs }, context) => {
    if (warmupSteps === undefined || warmupEpochs === undefined) return
    const message = `warmupSteps (${warmupSteps}) and warmupEpochs (${warmupEpochs}) are both given: keep one of them`
    context.addIssue({ code: 'custom', message })
  })
  .describe('trains the coarse scales alone at first and adds the finer ones one by one')

export type ProgressiveConfig = z.output<typeof progressiveSchema>
