/** Run configuration, component `work`: what the loop does beside training, and how often. */
import { z } from 'zod'

export const workSchema = z.strictObject({
  logEvery: z.int().min(1).default(10).describe('steps between lines in metrics.jsonl'),
  saveEvery: z.int().min(1).default(500).describe('steps between checkpoints'),
  keep: z.int().min(1).default(2).describe('checkpoints kept, the newest'),
  validateEvery: z.int().min(0).default(0).describe('steps between validations; 0 validates at the end only'),
})
