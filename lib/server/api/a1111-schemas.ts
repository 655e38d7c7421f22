/** What the API of AUTOMATIC1111's web UI takes and gives, as far as this model has it. */
import { z } from 'zod'
import { maxPromptLength } from '../../prompts.js'
import { speedNames } from '../../sampling/index.js'
import { maxPictures } from './image-schemas.js'

const speedName = z.enum(speedNames).nullish()
const number = (low: number, high: number) => z.number().min(low).max(high)

/**
 * A request for pictures. Its clients send every field of theirs with a default (samplers, steps, sizes, scripts): those that this
 * model has no use for are taken and named in `info.ignored`.
 */
export const txt2imgSchema = z.looseObject({
  prompt: z.string().min(1).max(maxPromptLength),
  negative_prompt: z.string().max(maxPromptLength).nullish().describe('what the pictures are guided away from'),
  seed: z
    .int()
    .min(-1)
    .max(Number.MAX_SAFE_INTEGER - maxPictures)
    .nullish()
    .describe('-1 (default): one at random'),
  batch_size: z.int().min(1).max(maxPictures).nullish(),
  n_iter: z.int().min(1).max(maxPictures).nullish().describe('n_iter · batch_size pictures are drawn'),
  cfg_scale: number(0, 1000).nullish().describe('strength of guidance; default: the model’s'),
  top_k: z.int().min(0).max(1e9).nullish(),
  top_p: number(0, 1).nullish(),
  speed: speedName.describe('full, fast or turbo; default: the model’s'),
  width: z
    .int()
    .min(1)
    .max(100_000)
    .nullish()
    .describe(
      'taken together with height where the model draws that size; else named in info.ignored, with pictures of its own size',
    ),
  height: z.int().min(1).max(100_000).nullish(),
  send_images: z.boolean().nullish(),
  override_settings: z.looseObject({ sd_model_checkpoint: z.string().max(200).nullish(), speed: speedName }).nullish(),
})
export type Txt2Img = z.output<typeof txt2imgSchema>

const file = z.string().min(1)

/** A picture to be changed: all of it, or with a mask a part. */
export const img2imgSchema = txt2imgSchema.extend({
  init_images: z.array(file).length(1).describe('the picture in base64, or as data: URL'),
  denoising_strength: number(0, 1).nullish().describe('0 keeps the picture, 1 draws a new one. Default 0.75'),
  mask: file.nullish().describe('white, or where it has transparency opaque, where the picture is drawn'),
  mask_blur: z.int().min(0).max(1024).nullish().describe('pixels over which the drawn part fades into the picture'),
  inpainting_fill: z
    .int()
    .min(0)
    .max(3)
    .nullish()
    .describe(
      'with a mask: 1 keeps coarse scales of what is inside, by denoising_strength; others fill it from around. Default 0',
    ),
  inpainting_mask_invert: z
    .union([z.int().min(0).max(1), z.boolean()])
    .nullish()
    .describe('1 draws what the mask keeps'),
  include_init_images: z.boolean().nullish(),
})
export type Img2Img = z.output<typeof img2imgSchema>

export const txt2imgAnswer = z.object({
  images: z.array(z.string()).describe('PNG files in base64'),
  parameters: z.record(z.string(), z.unknown()).describe('the request'),
  info: z.string().describe('JSON: prompts, seeds, sizes and the texts of the pictures'),
})

export const optionsSchema = z.looseObject({ sd_model_checkpoint: z.string().max(200).nullish() })
export const progressQuery = z.object({ skip_current_image: z.string().optional() })
export const progressAnswer = z.object({
  progress: z.number(),
  eta_relative: z.number(),
  state: z.record(z.string(), z.unknown()),
  current_image: z.string().nullable(),
  textinfo: z.string().nullable(),
})
export const pngInfoSchema = z.looseObject({ image: z.string().min(1).describe('the file in base64, or as data: URL') })
export const pngInfoAnswer = z.object({
  info: z.string(),
  items: z.record(z.string(), z.unknown()),
  parameters: z.record(z.string(), z.unknown()),
})
