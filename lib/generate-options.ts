/** Prompts and options of a call that draws pictures, and their checks. */
import { z } from 'zod'
import { parseConfig, shown } from './config/parse-config.js'
import type { StarInfo } from './engine/drawing-model.js'
import type { LoraOption } from './engine/loras.js'
import { loraSchema, type StarImage } from './image.js'
import { StarError } from './native/index.js'
import { pictureSizeSchema } from './picture-size.js'
import { between, maxPromptLength, type Prompt, type ReadPrompt, readPrompt, readPrompts } from './prompts.js'
import { type PictureSize, type SamplingOptions, samplingSchema } from './sampling/index.js'

/** One scale of some pictures of a call is drawn. */
export interface StarScaleEvent {
  /** Index of the scale among all that are drawn for these pictures, from 0. */
  scaleIndex: number
  /**
   * Number of scales that are drawn for these pictures: the model's, and twice as many where `star.edit` first draws pictures of the
   * prompt alone. A picture is done to the share (scaleIndex + 1)/scales.
   */
  scales: number
  /** Places of the pictures in the result. */
  images: readonly number[]
  /** Number of pictures that the call makes in all. */
  total: number
  /** The pictures as they look so far, in the order of `images`. To be called before `onScale` (or its promise) is done. */
  preview(): Promise<StarImage[]>
}

/** What is drawn of a prompt, how, and when. */
export interface StarGenerateOptions extends SamplingOptions {
  /** Pictures of each prompt; picture j of a prompt is drawn with seed + j. Default 1. */
  count?: number
  /**
   * Of the pictures, in pixels: sides are multiples of the model's patch, and from 2/3 to 3/2 of a size that it was trained on
   * (`star.info().shapes`). Default: the square of `star.imageSize`.
   */
  size?: PictureSize
  /**
   * Which of the LoRAs that the model was loaded with are at work, by their paths there, and how strongly; those that are not named are
   * not. Default: all, with the strengths that they were loaded with. Not with `loraMode: 'merge'`.
   */
  lora?: readonly LoraOption[]
  /** What pictures are guided away from, in place of the empty prompt. Needs guidance (`cfg` above 0). */
  negativePrompt?: string
  /**
   * Pictures drawn together at most; more are faster together and take more memory. Pictures of other calls that wait and have the
   * same settings are drawn along. Default 8.
   */
  batchSize?: number
  /** Of the calls that wait, the one with the highest number comes first. Default 0. */
  priority?: number
  /** Called once, when the call has waited in the queue and the model begins with its first pictures. */
  onStart?: () => void
  /** Called after each scale of the call's pictures; a promise it returns is waited for. */
  onScale?: (event: StarScaleEvent) => void | Promise<void>
  /** Aborting ends the call with ERR_ABORTED at once, and the drawing after the current scale. */
  signal?: AbortSignal
}

export const signalSchema = z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional()
export const functionSchema = <F>() =>
  z
    .custom<F>((value) => value === undefined || typeof value === 'function', { error: 'expected a function' })
    .optional()

/** What pictures are guided away from. */
export const negativeSchema = z.string().trim().min(1).max(maxPromptLength).optional()

export const generateSchema = samplingSchema.extend({
  negativePrompt: negativeSchema,
  count: z.int().min(1).max(100_000).default(1),
  size: pictureSizeSchema.optional(),
  lora: z.array(loraSchema).optional(),
  batchSize: z.int().min(1).max(1024).default(8),
  priority: z.number().default(0),
  onStart: functionSchema<StarGenerateOptions['onStart']>(),
  onScale: functionSchema<StarGenerateOptions['onScale']>(),
  signal: signalSchema,
})

/** A call that draws pictures, checked, with the model's settings filled in. */
export interface GenerateCall extends z.output<typeof generateSchema> {
  prompts: readonly ReadPrompt[]
}

/** @throws ERR_ARGUMENT and ERR_CONFIG as `Star.generate` */
export function generateCall(
  prompts: Prompt | readonly Prompt[],
  options: StarGenerateOptions,
  { sampling }: Pick<StarInfo, 'sampling'>,
): GenerateCall {
  const list = readPrompts(prompts)
  checkOptions('generate', options)
  const given = { ...sampling, ...named(options) }
  const parsed = parseConfig(generateSchema, given, 'the options of generate', { hints: generateHints })
  checkNegative(parsed)
  return { ...parsed, prompts: list }
}

/** How many pictures lie between two prompts, and how they are drawn. All have the same seed. */
export interface StarMorphOptions extends Omit<StarGenerateOptions, 'count'> {
  /** Pictures from the first prompt to the second, both included. Default 16. */
  frames?: number
}

const morphSchema = generateSchema.omit({ count: true }).extend({ frames: z.int().min(2).max(1000).default(16) })

/** @throws ERR_ARGUMENT and ERR_CONFIG as `Star.morph` */
export function morphCall(
  from: Prompt,
  to: Prompt,
  options: StarMorphOptions,
  { sampling }: Pick<StarInfo, 'sampling'>,
): GenerateCall {
  const [first, last] = [readPrompt(from), readPrompt(to)]
  checkOptions('morph', options)
  const hints = { ...generateHints, count: 'did you mean "frames"?' }
  const given = { ...sampling, ...named(options) }
  const { frames, ...call } = parseConfig(morphSchema, given, 'the options of morph', { hints })
  checkNegative(call)
  const prompts = Array.from({ length: frames }, (_, i) => between(first, last, i / (frames - 1)))
  return { ...call, count: 1, prompts }
}

/** @throws ERR_ARGUMENT for a negative prompt of a generation that is not guided */
export function checkNegative({ negativePrompt, cfg }: { negativePrompt?: string; cfg: number }): void {
  if (negativePrompt !== undefined && cfg === 0)
    throw new StarError(
      'ERR_ARGUMENT',
      `the negative prompt "${negativePrompt.slice(0, 40)}" has no effect without guidance: set cfg above 0, or leave it out`,
    )
}

/** What options of other tools are called here, or why there is none. */
export const generateHints: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['steps', 'numSteps', 'numInferenceSteps', 'num_inference_steps', 'sampler', 'scheduler', 'eta'].map((name) => [
      name,
      'the model has no such steps, a picture takes one pass a scale: remove it',
    ]),
  ),
  ...Object.fromEntries(['negative_prompt', 'negative'].map((name) => [name, 'did you mean "negativePrompt"?'])),
  ...Object.fromEntries(
    ['width', 'height', 'resolution'].map((name) => [name, 'give the size as "size": { width, height }']),
  ),
  ...Object.fromEntries(
    ['guidance', 'guidanceScale', 'guidance_scale', 'cfgScale', 'cfg_scale', 'scale'].map((name) => [
      name,
      'did you mean "cfg"?',
    ]),
  ),
  ...Object.fromEntries(
    ['n', 'images', 'numImages', 'num_images', 'numImagesPerPrompt', 'samples'].map((name) => [
      name,
      'did you mean "count"?',
    ]),
  ),
  ...Object.fromEntries(
    ['callback', 'onProgress', 'onStep', 'progress'].map((name) => [name, 'did you mean "onScale"?']),
  ),
  temperature: 'the model has none; "topK" and "topP" say how freely it draws',
  prompt: 'the prompt is the first argument',
}

export function checkOptions(name: string, options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new StarError('ERR_ARGUMENT', `the options of ${name} are ${shown(options)}, expected an object`)
}

export const named = <T extends object>(options: T): Partial<T> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
