/** Run configuration, component `work`: what the loop does beside training, and how often. */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { fileError } from '../../native/files.js'

const keys = z.strictObject({
  logEvery: z.int().min(1).optional().describe('steps between lines in metrics.jsonl and TensorBoard; default: 10'),
  logsPerEpoch: z.int().min(1).optional().describe('lines in metrics.jsonl an epoch, in place of logEvery'),
  saveEvery: z.int().min(1).default(500).describe('steps between checkpoints'),
  keep: z.int().min(1).default(2).describe('checkpoints kept, the newest'),
  keepBest: z.boolean().default(true).describe('keep the checkpoint with the best figure on held-out images as well'),
  validateEvery: z
    .number()
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
  promptFile: z.string().min(1).optional().describe('text file with more of them, a line each, read when a run begins'),
})

export const workSchema = keys.superRefine(({ logEvery, logsPerEpoch, validateEvery, validateEpochs }, context) => {
  const complain = (message: string): void => context.addIssue({ code: 'custom', message })
  if (logEvery !== undefined && logsPerEpoch !== undefined)
    complain(`logEvery (${logEvery}) and logsPerEpoch (${logsPerEpoch}) are both given: keep one of them`)
  if (validateEvery !== undefined && validateEpochs !== undefined)
    complain(`validateEvery (${validateEvery}) and validateEpochs (${validateEpochs}) are both given: keep one of them`)
})

/** With the prompts of `promptFile` among `prompts`. @throws ERR_FILE where it cannot be read */
export function withPromptFile({ promptFile, ...work }: WorkConfig): WorkConfig {
  if (promptFile === undefined) return work
  return { ...work, prompts: [...work.prompts, ...readPrompts(promptFile, 'work.promptFile, instance_prompt')] }
}

/** The lines of a file of prompts. @param key for the error @throws ERR_FILE where it cannot be read */
export function readPrompts(file: string, key: string): string[] {
  try {
    const lines = readFileSync(file, 'utf8').split(/\r?\n/)
    return lines.map((line) => line.trim()).filter((line) => line !== '')
  } catch (error) {
    throw fileError('read', `${file}, the file of prompts (${key}),`, error)
  }
}

export type WorkConfig = z.output<typeof workSchema>
