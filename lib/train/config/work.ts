/** Run configuration, component `work`: what the loop does beside training, and how often. */
import { z } from 'zod'
import { StarError } from '../../native/index.js'

const keys = z.strictObject({
  logEvery: z.int().min(1).optional().describe('steps between lines in metrics.jsonl and TensorBoard; default: 10'),
  logsPerEpoch: z.int().min(1).optional().describe('lines in metrics.jsonl an epoch, in place of logEvery'),
  saveEvery: z.int().min(1).default(500).describe('steps between checkpoints'),
  keep: z.int().min(1).default(2).describe('checkpoints kept, the newest'),
  keepBest: z.boolean().default(true).describe('keep the checkpoint with the best figure on held-out images as well'),
  validateEvery: z
    .int()
    .min(0)
    .optional()
    .describe('steps between validations; 0: at the end only; default: after each epoch'),
  validateEpochs: z.number().positive().optional().describe('epochs between validations, in place of validateEvery'),
  picturesEvery: z.int().min(0).default(500).describe('steps between sample pictures; 0 draws none'),
  prompts: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'what the sample pictures show; default: captions of four held-out images; a tokenizer shows held-out images',
    ),
})

export const workSchema = keys.superRefine(({ logEvery, logsPerEpoch, validateEvery, validateEpochs }, context) => {
  const complain = (message: string): void => context.addIssue({ code: 'custom', message })
  if (logEvery !== undefined && logsPerEpoch !== undefined)
    complain(`logEvery (${logEvery}) and logsPerEpoch (${logsPerEpoch}) are both given: keep one of them`)
  if (validateEvery !== undefined && validateEpochs !== undefined)
    complain(`validateEvery (${validateEvery}) and validateEpochs (${validateEpochs}) are both given: keep one of them`)
})

export type WorkConfig = z.output<typeof workSchema>

/**
 * The same with all intervals in steps; `validateEvery` is not whole where it comes from epochs, and not there where
 * validation waits for an epoch to end, whenever that is.
 */
export type WorkInSteps = WorkConfig & { logEvery: number }

/** Turns epochs into steps once the steps of an epoch are known (null: they never are, as with tars that nobody counted). */
export function workInSteps(work: WorkConfig, stepsPerEpoch: number | null): WorkInSteps {
  const { logsPerEpoch, validateEpochs } = work
  const perEpoch = (key: string): number => {
    if (stepsPerEpoch !== null) return stepsPerEpoch
    throw new StarError(
      'ERR_CONFIG',
      `"work.${key}" counts epochs, but tars do not tell how many images they hold: set "data.tarSamples", or give steps`,
    )
  }
  return {
    ...work,
    logEvery: logsPerEpoch ? Math.max(1, Math.floor(perEpoch('logsPerEpoch') / logsPerEpoch)) : (work.logEvery ?? 10),
    validateEvery: validateEpochs
      ? perEpoch('validateEpochs') * validateEpochs
      : (work.validateEvery ?? stepsPerEpoch ?? undefined),
  }
}
