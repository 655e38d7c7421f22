/** Run configuration, component `work`: what the loop does beside training, and how often. */
import { z } from 'zod'
import { StarError } from '../../native/index.js'

const keys = z.strictObject({
  logEvery: z.int().min(1).optional().describe('steps between lines in metrics.jsonl; default: 10'),
  logsPerEpoch: z.int().min(1).optional().describe('lines in metrics.jsonl an epoch, in place of logEvery'),
  saveEvery: z.int().min(1).default(500).describe('steps between checkpoints'),
  keep: z.int().min(1).default(2).describe('checkpoints kept, the newest'),
  validateEvery: z.int().min(0).optional().describe('steps between validations; 0, the default: at the end only'),
  validateEpochs: z.number().positive().optional().describe('epochs between validations, in place of validateEvery'),
})

export const workSchema = keys.superRefine(({ logEvery, logsPerEpoch, validateEvery, validateEpochs }, context) => {
  const complain = (message: string): void => context.addIssue({ code: 'custom', message })
  if (logEvery !== undefined && logsPerEpoch !== undefined)
    complain(`logEvery (${logEvery}) and logsPerEpoch (${logsPerEpoch}) are both given: keep one of them`)
  if (validateEvery !== undefined && validateEpochs !== undefined)
    complain(`validateEvery (${validateEvery}) and validateEpochs (${validateEpochs}) are both given: keep one of them`)
})

export type WorkConfig = z.output<typeof workSchema>

/** The same with all intervals in steps. */
export type WorkInSteps = WorkConfig & { logEvery: number; validateEvery: number }

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
      ? Math.max(1, Math.round(perEpoch('validateEpochs') * validateEpochs))
      : (work.validateEvery ?? 0),
  }
}
