/** The kinds of training: a new one is a folder beside this file and a line of this table. */
import { z } from 'zod'
import { loraSpec } from './lora/spec.js'
import type { RunSpec } from './run-spec.js'
import { samplerSpec } from './sampler/spec.js'
import { tokenizerSpec } from './tokenizer/spec.js'
import { transformerSpec } from './transformer/spec.js'

export const runSpecs = { tokenizer: tokenizerSpec, transformer: transformerSpec, sampler: samplerSpec, lora: loraSpec }

/** What a run trains. */
export type RunKind = keyof typeof runSpecs

/** Of a run of any kind. */
export type RunConfig = z.output<(typeof runSpecs)[RunKind]['schema']>

export const specOf = ({ kind }: Pick<RunConfig, 'kind'>): RunSpec<RunConfig> => runSpecs[kind]

export const runSchema = z.lazy(() => {
  const [first, ...others] = Object.values(runSpecs).map(({ schema }): z.ZodObject => schema)
  return z.discriminatedUnion('kind', [first, ...others])
}) as z.ZodType as z.ZodType<RunConfig>
