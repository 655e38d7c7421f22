/**
 * The format of a training checkpoint: a safetensors file with the tensors `model.*`, `optimizer.*`, `ema.*` and what the kind
 * of training keeps besides, `task.*`; the rest of what
 * a resumed run needs is its metadata, JSON texts that are read and written here alone.
 */
import { z } from 'zod'
import { parseConfig } from '../../config/parse-config.js'
import { StarError } from '../../native/error.js'
import { modelConfigSchema } from '../../weights/index.js'
import { runSchema } from '../kinds/index.js'

export const checkpointFormat = 'star-checkpoint-2'

/** A JSON text in the metadata. */
const json = <Schema extends z.ZodType>(schema: Schema) =>
  z.codec(z.string(), schema, {
    decode: (text, context): z.input<Schema> => {
      try {
        return JSON.parse(text) as z.input<Schema>
      } catch (error) {
        context.issues.push({ code: 'custom', input: text, message: `is no JSON (${(error as Error).message})` })
        return z.NEVER
      }
    },
    encode: (value) => JSON.stringify(value),
  })

const count = z.int().min(0)

const stateSchema = z.object({
  /** Steps done. */
  step: count,
  /** State of the task: random numbers, the position in the data. */
  task: z.unknown(),
  /** In f16 runs. */
  lossScale: z.object({ scale: z.number(), good: count, skipped: count }).optional(),
  validation: z.object({
    best: z.object({ step: count, value: z.number() }).nullable(),
    epoch: count.nullable(),
  }),
})

/** A configuration with its lengths in steps; earlier checkpoints hold them in epochs as well, which no schema accepts. */
const storedConfig = z.looseObject({ optimizer: z.looseObject({}), work: z.looseObject({}) })
const configSchema = z.codec(storedConfig, runSchema, {
  decode: ({ optimizer, work, ...config }) => {
    const { epochs: _, warmupEpochs: _warmup, ...lengths } = optimizer
    const { logsPerEpoch: _logs, validateEpochs: _validate, ...intervals } = work
    return { ...config, optimizer: lengths, work: intervals }
  },
  encode: (config) => config as z.output<typeof storedConfig>,
})

/** What a resumed run reads. */
const metadataSchema = z.object({
  format: z.literal(checkpointFormat),
  state: json(stateSchema),
  optimizer: json(z.object({ step: count })),
  /** Files of the checkpoint of a sharded run, and the shapes of the whole tensors. */
  shards: json(z.int().min(1).max(65_536)).optional(),
  shapes: json(z.record(z.string(), z.array(count))).optional(),
})

/** And what the checkpoint says of itself. */
const describedSchema = metadataSchema.extend({
  config: json(configSchema),
  model: json(modelConfigSchema.omit({ format: true })),
})

export type CheckpointState = z.output<typeof stateSchema>
/** The best result of a run on held-out images. */
export type Best = NonNullable<CheckpointState['validation']['best']>
export type CheckpointMetadata = z.output<typeof metadataSchema>
export type DescribedMetadata = z.output<typeof describedSchema>

export const encodeMetadata = (metadata: Omit<DescribedMetadata, 'format'>): Record<string, string> =>
  z.encode(describedSchema, { format: checkpointFormat, ...metadata }) as Record<string, string>

type Texts = Readonly<Record<string, string>>

/** Whether these are the metadata of a checkpoint of a run. */
export const isCheckpoint = ({ format }: Texts): boolean => format === checkpointFormat

function parsed<Schema extends z.ZodType>(schema: Schema, texts: Texts, file: string): z.output<Schema> {
  if (!isCheckpoint(texts))
    throw new StarError(
      'ERR_FILE',
      `${file} is not a training checkpoint (its format is ${texts.format ?? 'not given'}): point to a file of a run's checkpoints folder`,
    )
  try {
    return parseConfig(schema, texts, file)
  } catch (error) {
    // A checkpoint is written by no person: what is wrong in it is damage, or another version.
    throw new StarError('ERR_FILE', `${(error as Error).message}, with the version that wrote it`, { cause: error })
  }
}

/** @throws ERR_FILE for other files, and for metadata that this version does not know */
export const parseMetadata = (file: string, texts: Texts): CheckpointMetadata => parsed(metadataSchema, texts, file)

/** With the configurations of run and model. @throws ERR_FILE as `parseMetadata` */
export const describedMetadata = (file: string, texts: Texts): DescribedMetadata => parsed(describedSchema, texts, file)
