/** What OpenAI's Images API takes and gives, with the fields of ours. */
import { z } from 'zod'
import { maxPromptLength } from '../../prompts.js'
import { speedNames } from '../../sampling/index.js'

/** Pictures of one request at most. */
export const maxPictures = 32

const formats = ['png', 'jpeg', 'webp'] as const
export const seedSchema = z
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER - maxPictures)
const ignored = (schema: z.ZodType, what: string) => schema.nullish().describe(`taken and without effect: ${what}`)

export const generationsSchema = z.strictObject({
  prompt: z.string().min(1).max(maxPromptLength).describe('what to draw'),
  model: z.string().max(200).nullish().describe('name of a model of this server; default: the first'),
  n: z.int().min(1).max(maxPictures).nullish().describe('pictures; picture j is drawn with seed + j. Default 1'),
  size: z
    .string()
    .regex(/^(auto|\d{1,5}x\d{1,5})$/, { error: 'expected "auto" or WIDTHxHEIGHT' })
    .nullish()
    .describe(
      '"auto" (default: the model’s square), or a size near one that the model was trained on, see sizes of /v1/models',
    ),
  response_format: z
    .enum(['b64_json', 'url'])
    .nullish()
    .describe('pictures in the answer (default), or addresses of this server that hold for an hour'),
  output_format: z.enum(formats).nullish().describe('default: png, which loses nothing'),
  background: z.enum(['opaque', 'auto']).nullish().describe('pictures are opaque'),
  stream: z.boolean().nullish().describe('answer with server-sent events'),
  partial_images: z
    .int()
    .min(0)
    .max(64)
    .nullish()
    .describe('with stream: pictures after that many of the coarser scales, at most one a scale. Default 0'),
  seed: seedSchema.nullish().describe('of the first picture; default: one at random'),
  cfg: z.number().min(0).max(1000).nullish().describe('strength of guidance; default: the model’s'),
  top_k: z
    .int()
    .min(0)
    .max(1e9)
    .nullish()
    .describe('draw from the k most probable tokens, 0: all; default: the model’s'),
  top_p: z
    .number()
    .min(0)
    .max(1)
    .nullish()
    .describe('draw from tokens of this probability, 0: all; default: the model’s'),
  speed: z
    .enum(speedNames)
    .nullish()
    .describe(
      'fast: guidance ends before the last scales; turbo: most of their tokens are left out too; default: the model’s',
    ),
  negative_prompt: z
    .string()
    .max(maxPromptLength)
    .nullish()
    .describe('what the pictures are guided away from; default: the empty prompt'),
  lora: z
    .array(
      z.strictObject({
        name: z.string().max(200),
        strength: z.number().min(-10).max(10).default(1),
      }),
    )
    .max(32)
    .nullish()
    .describe(
      'LoRAs to draw with, and how strongly (1: as trained); others are off. See loras of /v1/models. Default: the server’s',
    ),
  progress: z
    .boolean()
    .nullish()
    .describe('with stream: events image_generation.queued (requests ahead) and image_generation.in_progress as well'),
  quality: ignored(z.enum(['standard', 'hd', 'low', 'medium', 'high', 'auto']), 'the model has one quality'),
  style: ignored(z.enum(['vivid', 'natural']), 'say it in the prompt'),
  moderation: ignored(z.enum(['low', 'auto']), 'there is none'),
  output_compression: ignored(z.number().min(0).max(100), 'JPEG and WebP have quality 95'),
  user: ignored(z.string().max(1000), 'nothing is kept of users'),
})

export const editsSchema = generationsSchema.extend({
  image: z.instanceof(Uint8Array, { error: 'expected a file' }).describe('the picture: PNG, JPEG, WebP or AVIF'),
  mask: z
    .instanceof(Uint8Array, { error: 'expected a file' })
    .optional()
    .describe('of the same size; its transparent part is drawn. Default: the transparent part of the picture'),
  size: z.string().nullish().describe('"auto" (default), or the size of the picture'),
  from: z
    .string()
    .max(maxPromptLength)
    .nullish()
    .describe('what the picture shows: the words in which the prompt differs say what changes, without a mask'),
  share: z.number().min(0).max(1).nullish().describe('with from: the share of the picture that changes. Default 0.3'),
  feather: z.int().min(0).max(1024).nullish().describe('pixels over which the drawn part fades into the picture'),
  strength: z
    .number()
    .min(0)
    .max(1)
    .nullish()
    .describe(
      'below 1: coarse scales are kept inside the mask too. Default 1. With from: how freely the changed part is drawn. Default 0.5',
    ),
  input_fidelity: ignored(z.enum(['low', 'high']), 'what is outside of the mask keeps its bytes'),
})
export type Generations = z.output<typeof generationsSchema>
export type OutputFormat = (typeof formats)[number]

const imageSchema = z.object({
  b64_json: z.string().optional().describe('the file in base64'),
  url: z.string().optional(),
  seed: z.int().describe('draws this picture again'),
})

export const generationsAnswer = z.object({
  created: z.int().describe('Unix time in seconds'),
  data: z.array(imageSchema),
  background: z.literal('opaque'),
  output_format: z.enum(formats),
  size: z.string(),
  model: z.string(),
})

export const modelSchema = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
  state: z.enum(['unloaded', 'loading', 'ready']),
  source: z.string().describe('what the command line calls it'),
  image_size: z.int().nullable().describe('width and height in pixels where a request names no size'),
  sizes: z.array(z.string()).describe('WIDTHxHEIGHT to choose from: those of its training first'),
  loras: z
    .array(z.object({ name: z.string(), strength: z.number(), source: z.string() }))
    .describe('LoRAs to choose, and how strongly they are applied where a request says nothing'),
  scales: z.int().nullable().describe('passes of a picture, each finer than the one before'),
  defaults: z
    .object({ cfg: z.number(), top_k: z.int(), top_p: z.number(), speed: z.enum(speedNames).nullable() })
    .nullable(),
  about: z.string().describe('what it draws, from its card'),
  examples: z.array(z.string()),
  styles: z.array(z.string()),
})
export const modelsAnswer = z.object({ object: z.literal('list'), data: z.array(modelSchema) })
