/** Run configuration, component `optimizer`: batches, their number, and how a step is taken. */
import { z } from 'zod'
import { StarError } from '../../native/error.js'
import { schedulePattern } from '../../optim/schedule.js'

const keys = z.strictObject({
  kind: z
    .enum(['adamw', 'muon'])
    .default('adamw')
    .describe(
      'adamw; or muon, which orthogonalizes the updates of the matrices of a transformer’s or sampler head’s blocks, and leaves all else to AdamW',
    ),
  batchSize: z
    .int()
    .min(1)
    .max(1 << 20)
    .describe('images a step, over all processes'),
  accumulate: z
    .int()
    .min(1)
    .default(1)
    .describe(
      'micro-batches that a process cuts its share of a batch into to save memory; their gradients are summed up',
    ),
  steps: z.int().min(1).optional().describe('length of the training in steps; or give epochs'),
  epochs: z.number().positive().optional().describe('length of the training in passes over all images; or give steps'),
  learningRate: z.number().positive().describe('peak learning rate'),
  schedule: z
    .string()
    .regex(schedulePattern)
    .default('lin0')
    .describe('curve of the learning rate: cos, exp, lin, lin0, lin00, or lin and a number'),
  warmupSteps: z.int().min(0).optional().describe('length of the warm-up in steps; default: none'),
  warmupEpochs: z.number().min(0).optional().describe('length of the warm-up in epochs, in place of warmupSteps'),
  warmupStart: z.number().min(0).max(1).default(0.005).describe('learning rate at the first step over the peak'),
  endRatio: z.number().min(0).max(1).default(0.01).describe('learning rate after the last step over the peak'),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.95])
    .describe('decay of AdamW’s averages of gradient and squared gradient'),
  momentum: z.number().min(0).lt(1).optional().describe('of muon: decay of its sum of gradients; default: 0.95'),
  weightDecay: z.number().min(0).default(0.05).describe('weight decay at the first step'),
  weightDecayEnd: z
    .number()
    .min(0)
    .optional()
    .describe('weight decay at the last step, reached on half a cosine; default: weightDecay'),
  clip: z.number().min(0).default(2).describe('largest global gradient norm; 0 turns clipping off'),
  shard: z
    .boolean()
    .default(false)
    .describe('each process keeps the optimizer’s state of its part of the weights alone (ZeRO stage 1)'),
  ema: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe('decay of the averaged weights that are validated and exported; 0 uses the trained weights themselves'),
})

/** The lengths are given in one unit each. */
export const optimizerSchema = keys
  .superRefine(
    ({ kind, momentum, shard, batchSize, accumulate, steps, epochs, warmupSteps, warmupEpochs }, context) => {
      const complain = (message: string): void => context.addIssue({ code: 'custom', message })
      if (kind === 'adamw' && momentum !== undefined)
        complain(`momentum (${momentum}) is for kind "muon": leave it out, AdamW's averages are set by betas`)
      if (kind === 'muon' && shard)
        complain('shard is true and kind is "muon", which steps whole matrices: set shard to false, or kind to "adamw"')
      if (batchSize % accumulate !== 0)
        complain(`batchSize (${batchSize}) is not a multiple of accumulate (${accumulate}): micro-batches are equal`)
      if (steps !== undefined && epochs !== undefined)
        complain(`steps (${steps}) and epochs (${epochs}) are both given: keep one of them`)
      if (steps === undefined && epochs === undefined)
        complain('the length of the training is missing: give steps or epochs')
      if (warmupSteps !== undefined && warmupEpochs !== undefined)
        complain(`warmupSteps (${warmupSteps}) and warmupEpochs (${warmupEpochs}) are both given: keep one of them`)
    },
  )
  .meta({ oneOf: [{ required: ['steps'] }, { required: ['epochs'] }] })

/** @throws ERR_CONFIG when so many processes cannot share a batch in equal micro-batches */
export function checkShares({ batchSize, accumulate }: OptimizerConfig, ranks: number): void {
  if (batchSize % (ranks * accumulate) === 0) return
  throw new StarError(
    'ERR_CONFIG',
    `"optimizer.batchSize" is ${batchSize}, the images of a step over all processes, but ${ranks} processes with ${accumulate} micro-batches each need a multiple of ${ranks * accumulate}`,
  )
}

export type OptimizerConfig = z.output<typeof optimizerSchema>
