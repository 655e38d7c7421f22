/** Run configuration, component `optimizer`: batches, their number, and how a step is taken. */
import { z } from 'zod'
import { schedulePattern } from '../../optim/index.js'

export const optimizerSchema = z.strictObject({
  batchSize: z.int().min(1).describe('images a step'),
  steps: z.int().min(1).describe('length of the training in steps'),
  learningRate: z.number().positive().describe('peak learning rate'),
  schedule: z
    .string()
    .regex(schedulePattern)
    .default('lin0')
    .describe('curve of the learning rate: cos, exp, lin, lin0, lin00, or lin and a number'),
  warmupSteps: z.int().min(0).default(0).describe('length of the warm-up in steps'),
  warmupStart: z.number().min(0).max(1).default(0.005).describe('learning rate at the first step over the peak'),
  endRatio: z.number().min(0).max(1).default(0.01).describe('learning rate after the last step over the peak'),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.95])
    .describe('decay of AdamW’s averages of gradient and squared gradient'),
  weightDecay: z.number().min(0).default(0.05).describe('weight decay at the first step'),
  weightDecayEnd: z
    .number()
    .min(0)
    .optional()
    .describe('weight decay at the last step, reached on half a cosine; default: weightDecay'),
  clip: z.number().min(0).default(2).describe('largest global gradient norm; 0 turns clipping off'),
  ema: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe('decay of the averaged weights that are validated and exported; 0 uses the trained weights themselves'),
})
