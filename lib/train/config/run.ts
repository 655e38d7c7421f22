/**
 * Configuration of a training run: one JSON file, checked key by key (`kind` says which trainer it is for). Components that
 * all kinds share are in `config/`.
 */
import { z } from 'zod'
import { firstStableScale, initScalesSchema, starOptionsSchema } from '../../models/star/index.js'
import { tokenizerSchema } from '../../models/tokenizer/index.js'
import { dataSchema } from './data.js'
import { optimizerSchema } from './optimizer.js'
import { startSchema } from './start.js'
import { progressiveSchema, scaleWeightsSchema, tokenDropSchema } from './tokens.js'
import { workSchema } from './work.js'

const precision = z
  .enum(['f32', 'f16', 'bf16'])
  .default('f32')
  .describe(
    'of weights, activations and gradients while computing; the weights that are stepped and saved are f32 always',
  )

const common = {
  runFolder: z.string().min(1).describe('folder of the run; a run goes on from the checkpoint it finds there'),
  seed: z.int().min(0).default(0).describe('of first weights, order of images, captions and dropout'),
  data: dataSchema,
  optimizer: optimizerSchema,
  precision,
  work: workSchema.prefault({}),
}

const sides = z.array(z.int().min(1)).min(1)

const textDropout = z
  .number()
  .min(0)
  .max(1)
  .default(0.1)
  .describe('chance that a prompt of more than 20 characters is replaced by "" (classifier-free guidance)')

export const tokenizerRunSchema = z.strictObject({
  kind: z.literal('tokenizer').describe('an image tokenizer is trained'),
  ...common,
  model: tokenizerSchema,
  loss: z
    .strictObject({
      l1: z.number().min(0).default(1).describe('weight of the mean absolute error'),
      l2: z.number().min(0).default(1).describe('weight of the mean squared error'),
      detail: z.number().min(0).default(1).describe('weight of the edges’ error at three resolutions'),
      quantizer: z.number().min(0).default(1).describe('weight of the quantizer’s loss'),
    })
    .prefault({}),
  reviveEvery: z
    .int()
    .min(0)
    .default(50)
    .describe(
      'steps between revivals of unused codebook rows (they are placed on vectors of the current batch); 0 never revives',
    ),
  reviveUntil: z
    .number()
    .min(0)
    .max(1)
    .default(0.8)
    .describe('part of the steps after which no row is revived any more, so that the rest settles'),
})

export const transformerRunSchema = z.strictObject({
  kind: z.literal('transformer').describe('a transformer is trained on the tokens of a tokenizer'),
  ...common,
  name: z.string().min(1).describe('name given to the exported model'),
  tokenizer: z
    .string()
    .min(1)
    .describe('folder with a trained tokenizer: a tokenizer run’s `model` folder, or any model folder'),
  patchNums: sides
    .optional()
    .describe('sides of the token maps, coarse to fine; default: those that the tokenizer was trained with'),
  textEncoder: z
    .string()
    .min(1)
    .default('minilm-l6')
    .describe('minilm-l6, or a Hugging Face folder with a CLIP text model or a T5 model'),
  model: starOptionsSchema.omit({ patchNums: true, vocabSize: true, latentChannels: true, textWidth: true }),
  init: initScalesSchema.prefault({}),
  start: startSchema.optional(),
  recompute: z
    .boolean()
    .default(false)
    .describe('keep the input of each block alone and compute it again during backward: less memory, more time'),
  labelSmoothing: z.number().min(0).lt(1).default(0).describe('part of the target spread over all codes'),
  textDropout,
  scaleWeights: scaleWeightsSchema,
  tokenDrop: tokenDropSchema.optional(),
  progressive: progressiveSchema.optional(),
  sampling: z
    .strictObject({
      cfg: z.number().min(0).optional().describe('guidance'),
      topK: z.int().min(0).optional().describe('only the most probable tokens are drawn; 0: all'),
      topP: z.number().min(0).max(1).optional().describe('only tokens within this cumulative probability are drawn'),
    })
    .optional()
    .describe('settings that the exported model uses where a caller names none'),
})

export const samplerRunSchema = z.strictObject({
  kind: z.literal('sampler').describe('a sampler head is trained on a frozen model'),
  ...common,
  name: z.string().min(1).describe('name given to the exported model: the base with its sampler head'),
  base: z
    .string()
    .min(1)
    .describe('the trained model that the head stands on: name, folder or checkpoint; its weights stay as they are'),
  tokenizer: z.string().min(1).optional().describe('of a checkpoint as base: its tokenizer, where it is not beside it'),
  textEncoder: z.string().min(1).optional().describe('of a checkpoint as base: the text encoder it was trained with'),
  patchNums: sides.optional().describe('of a checkpoint as base: sides of its token maps, where it does not say them'),
  stableFrom: z.int().min(0).default(firstStableScale).describe('scale index from which on tokens are fixed in steps'),
  init: initScalesSchema.prefault({}),
  start: startSchema.optional(),
  textDropout,
})

export const runSchema = z.discriminatedUnion('kind', [tokenizerRunSchema, transformerRunSchema, samplerRunSchema])

export type TokenizerRunConfig = z.output<typeof tokenizerRunSchema>
export type TransformerRunConfig = z.output<typeof transformerRunSchema>
export type SamplerRunConfig = z.output<typeof samplerRunSchema>
export type RunConfig = z.output<typeof runSchema>
