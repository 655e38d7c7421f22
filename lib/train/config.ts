/** Configuration of a training run: one JSON file, checked key by key (`kind` says which trainer it is for). */
import { z } from 'zod'
import { firstStableScale, starOptionsSchema } from '../models/star/index.js'
import { tokenizerSchema } from '../models/tokenizer/index.js'
import { schedulePattern } from '../optim/index.js'

const dataSchema = z.strictObject({
  /** LMDB packs or folders of packs. */
  packs: z.array(z.string()).min(1),
  /** Side of the square training images in pixels. */
  resolution: z.int().min(8).max(4096),
  /** Fraction of images mirrored left to right (tokenizer only: captions may speak of left and right). */
  flip: z.number().min(0).max(1).default(0),
})

const optimizerSchema = z.strictObject({
  batchSize: z.int().min(1),
  steps: z.int().min(1),
  /** Peak learning rate. */
  learningRate: z.number().positive(),
  /** cos, exp, lin, lin0, lin00, or lin and a number (reference: lib/optim/schedule.ts). */
  schedule: z.string().regex(schedulePattern).default('lin0'),
  /** Warm-up length in steps. */
  warmupSteps: z.int().min(0).default(0),
  /** Learning rate at the first step and after the last one, as parts of the peak. */
  warmupStart: z.number().min(0).max(1).default(0.005),
  endRatio: z.number().min(0).max(1).default(0.01),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.95]),
  weightDecay: z.number().min(0).default(0.05),
  weightDecayEnd: z.number().min(0).optional(),
  /** Largest global gradient norm; 0 turns clipping off. */
  clip: z.number().min(0).default(2),
  /** Decay of the averaged weights that are validated and exported; 0 uses the trained weights themselves. */
  ema: z.number().min(0).lt(1).default(0),
})

const scheduleOfWork = z.strictObject({
  /** Steps between lines in metrics.jsonl. */
  logEvery: z.int().min(1).default(10),
  /** Steps between checkpoints. */
  saveEvery: z.int().min(1).default(500),
  /** Checkpoints kept, the newest. */
  keep: z.int().min(1).default(2),
  /** Steps between validations; 0 validates at the end only. */
  validateEvery: z.int().min(0).default(0),
})

const common = {
  runFolder: z.string().min(1),
  seed: z.int().min(0).default(0),
  data: dataSchema,
  optimizer: optimizerSchema,
  work: scheduleOfWork.prefault({}),
}

export const tokenizerRunSchema = z.strictObject({
  kind: z.literal('tokenizer'),
  ...common,
  model: tokenizerSchema,
  loss: z
    .strictObject({
      l1: z.number().min(0).default(1),
      l2: z.number().min(0).default(1),
      /** Weight of the edges' error at three resolutions. */
      detail: z.number().min(0).default(1),
      quantizer: z.number().min(0).default(1),
    })
    .prefault({}),
  /** Steps between revivals of unused codebook rows (they are placed on vectors of the current batch); 0 never revives. */
  reviveEvery: z.int().min(0).default(50),
  /** Part of the steps after which no row is revived any more, so that the rest settles. */
  reviveUntil: z.number().min(0).max(1).default(0.8),
})

export const transformerRunSchema = z.strictObject({
  kind: z.literal('transformer'),
  ...common,
  /** Name given to the exported model. */
  name: z.string().min(1),
  /** Folder with a trained tokenizer: a tokenizer run's `model` folder, or any model folder. */
  tokenizer: z.string().min(1),
  /** `minilm-l6`, or a Hugging Face folder with a CLIP text model or a T5 model. */
  textEncoder: z.string().min(1).default('minilm-l6'),
  model: starOptionsSchema.omit({ patchNums: true, vocabSize: true, latentChannels: true, textWidth: true }),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  /** Chance that a prompt of more than 20 characters is replaced by "" (classifier-free guidance). */
  textDropout: z.number().min(0).max(1).default(0.1),
  /** Sampling settings that the exported model uses where a caller names none. */
  sampling: z
    .strictObject({
      cfg: z.number().min(0).optional(),
      topK: z.int().min(0).optional(),
      topP: z.number().min(0).max(1).optional(),
    })
    .optional(),
})

export const samplerRunSchema = z.strictObject({
  kind: z.literal('sampler'),
  ...common,
  /** Name given to the exported model: the base with its sampler head. */
  name: z.string().min(1),
  /** Name or folder of the trained model that the head stands on; its weights stay as they are. */
  base: z.string().min(1),
  /** Scale index from which on tokens are fixed in steps. */
  stableFrom: z.int().min(0).default(firstStableScale),
  /** Chance that a prompt of more than 20 characters is replaced by "" (classifier-free guidance). */
  textDropout: z.number().min(0).max(1).default(0.1),
})

export const runSchema = z.discriminatedUnion('kind', [tokenizerRunSchema, transformerRunSchema, samplerRunSchema])

export type TokenizerRunConfig = z.output<typeof tokenizerRunSchema>
export type TransformerRunConfig = z.output<typeof transformerRunSchema>
export type SamplerRunConfig = z.output<typeof samplerRunSchema>
export type RunConfig = z.output<typeof runSchema>
