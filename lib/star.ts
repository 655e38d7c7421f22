/** Star: a loaded model that makes pictures of prompts. */
import { z } from 'zod'
import { parseConfig } from './config/parse-config.js'
import { type ImageSettings, StarImage } from './image.js'
import { describeSource, type ModelInfo } from './model-info.js'
import { type HubOptions, localModel, localTextEncoder } from './models/local.js'
import { findModel, loadPart, type ModelSource, type SourceOptions } from './models/source.js'
import { SamplerHead, StarTransformer } from './models/star/index.js'
import type { TextEncoder } from './models/text/index.js'
import { loadTextEncoder } from './models/text/load.js'
import { imageSide, Tokenizer } from './models/tokenizer/index.js'
import { StarError } from './native/index.js'
import { buildIn, type WeightType, weightTypes } from './nn/index.js'
import {
  drawPictures,
  GraphPool,
  type SamplingOptions,
  type SamplingSettings,
  samplingSchema,
} from './sampling/index.js'
import { type DType, keep, resolveDevice, scope, tellFallback } from './tensor/index.js'

/** Longest prompt that is taken, in characters. The text encoder reads its first tokens only. */
export const maxPromptLength = 4096

/** A model folder says all but the device; what a checkpoint does not say is to be given. */
export interface LoadOptions extends SourceOptions, Pick<HubOptions, 'offline' | 'cacheDir'> {
  /** `auto` (the default) takes a GPU where one is available; `cpu` and `cuda` take that one or fail. */
  device?: string
  /**
   * Element type of the transformer's and sampler head's weights and of the keys and values of a generation: 'f32', 'f16' or
   * 'bf16'. 16 bits halve their memory; logits, the text encoder and the tokenizer stay f32. Default: f32 on the CPU, f16 on a
   * GPU where the weights are stored in f16, else bf16.
   */
  dtype?: WeightType
  /** Called as parts of a Hugging Face model arrive. */
  onDownload?: HubOptions['onProgress']
  /** Aborting ends a download; it goes on there the next time. */
  signal?: AbortSignal
}

/** One scale of one batch is drawn. */
export interface StarScaleEvent {
  scaleIndex: number
  /** Number of scales. */
  scales: number
  /** Places of the batch's images in the result. */
  images: readonly number[]
  /** Number of images that the call makes in all. */
  total: number
  /** The images of the batch as they look so far, in the order of `images`. To be called inside `onScale` only. */
  preview(): StarImage[]
}

export interface StarGenerateOptions extends SamplingOptions {
  /** Pictures of each prompt; picture j of a prompt is drawn with seed + j. Default 1. */
  count?: number
  /** Images drawn together; more are faster together and take more memory. Default 8. */
  batchSize?: number
  /** Called after each scale; a promise it returns is waited for. */
  onScale?: (event: StarScaleEvent) => void | Promise<void>
  /** Aborting ends the call with ERR_ABORTED after the current scale. */
  signal?: AbortSignal
}

export interface StarResult {
  /** All pictures of the first prompt, then those of the second, … */
  images: StarImage[]
}

const callSchema = z.strictObject({
  count: z.int().min(1).max(100_000).default(1),
  batchSize: z.int().min(1).max(1024).default(8),
})

/** Checks one prompt. @throws ERR_ARGUMENT when it is empty or too long */
export function checkPrompt(prompt: string): void {
  if (typeof prompt !== 'string')
    throw new StarError(
      'ERR_ARGUMENT',
      `a prompt of type ${typeof prompt} was given, expected a text: describe the picture`,
    )
  if (prompt.trim() === '')
    throw new StarError(
      'ERR_ARGUMENT',
      'the prompt is empty: describe the picture in some words, such as "a red apple"',
    )
  if (prompt.length > maxPromptLength)
    throw new StarError(
      'ERR_ARGUMENT',
      `the prompt has ${prompt.length} characters, at most ${maxPromptLength} are taken: shorten it ("${prompt.slice(0, 40)}…")`,
    )
}

interface Job {
  /** Place in the result. */
  index: number
  prompt: string
  seed: number
}

export class Star {
  #disposed = false
  readonly #graphs = new GraphPool()

  private constructor(
    private readonly model: ModelInfo,
    readonly device: string,
    readonly tokenizer: Tokenizer,
    readonly transformer: StarTransformer,
    readonly samplerHead: SamplerHead | null,
    readonly textEncoder: TextEncoder,
  ) {}

  /**
   * Loads a shipped model by name, a model folder by path, or a checkpoint of the reference implementation (.pth, or safetensors
   * made from it), which needs a tokenizer file and a text encoder named or in their usual places. Each of them can be one of
   * Hugging Face: `org/name`, `org/name/file.pth`.
   * @throws ERR_FILE when it is not there or damaged, ERR_CONFIG and ERR_SHAPE when its files do not fit each other,
   * ERR_DEVICE for a device that is unknown or not available
   */
  static async load(nameOrPath: string, given: LoadOptions = {}): Promise<Star> {
    const { device: wanted, dtype: asked, offline, cacheDir, onDownload, signal, ...options } = given
    const device = resolveDevice(wanted)
    const hub: HubOptions = { offline, cacheDir, onProgress: onDownload, signal }
    const here = await localModel(nameOrPath, options, hub)
    const source = findModel(here.path, here.options)
    const { path, transformer: config, textEncoder: encoderName } = source
    if (!config)
      throw new StarError(
        'ERR_CONFIG',
        `${path} holds a tokenizer only, which draws no pictures of prompts: train a transformer on it ("star train")`,
      )
    if (!encoderName)
      throw new StarError(
        'ERR_CONFIG',
        `${path} does not say its text encoder: name the one it was trained with (textEncoder, --text-encoder), such as the folder of CLIP`,
      )
    const info = describeSource(source)
    const dtype = checkWeightType(asked) ?? (device === 'cpu' || device === 'simt' ? 'f32' : gpuType(source))
    const owned: { dispose(): void }[] = []
    try {
      const tokenizer = new Tokenizer(source.tokenizer, { init: null, device })
      owned.push(tokenizer)
      loadPart(source, 'tokenizer', tokenizer)
      const transformer = buildIn(dtype, () => new StarTransformer(config, { init: null, device }))
      owned.push(transformer)
      loadPart(source, 'transformer', transformer)
      const samplerHead = source.samplerHead
        ? buildIn(dtype, () => new SamplerHead(config, { init: null, device }))
        : null
      if (samplerHead) {
        owned.push(samplerHead)
        loadPart(source, 'sampler-head', samplerHead)
        samplerHead.setTrainable(false)
      }
      const textEncoder = loadTextEncoder(await localTextEncoder(encoderName, hub), device)
      owned.push(textEncoder)
      if (textEncoder.width !== config.textWidth)
        throw new StarError(
          'ERR_CONFIG',
          `${path}: the transformer takes text of width ${config.textWidth}, but ${encoderName} ` +
            `gives ${textEncoder.width}: name the text encoder it was trained with`,
        )
      tokenizer.setTrainable(false)
      transformer.setTrainable(false)
      tellFallback(wanted, device)
      return new Star(info, device, tokenizer, transformer, samplerHead, textEncoder)
    } catch (error) {
      for (const part of owned) part.dispose()
      throw error
    }
  }

  /** Width and height of the pictures in pixels. */
  get imageSize(): number {
    return this.model.imageSize
  }

  /** Name, sizes, modes and defaults of the model, and the device it is on. */
  info(): ModelInfo & { device: string; dtype: DType } {
    return { ...this.model, device: this.device, dtype: this.transformer.dtype }
  }

  /**
   * Makes pictures of one or more prompts. The same prompt, seed and settings give the same picture.
   * @throws ERR_ARGUMENT for an empty or over-long prompt, ERR_CONFIG for settings out of range, ERR_ABORTED when the
   * signal fires
   */
  async generate(prompts: string | readonly string[], options: StarGenerateOptions = {}): Promise<StarResult> {
    const images: StarImage[] = []
    for await (const image of this.stream(prompts, options)) images.push(image)
    return { images }
  }

  /** The pictures of `generate` one by one, as soon as their batch is done. @throws as `generate` */
  async *stream(prompts: string | readonly string[], options: StarGenerateOptions = {}): AsyncGenerator<StarImage> {
    if (this.#disposed) throw new StarError('ERR_ARGUMENT', 'generate: this model was disposed; load it again')
    const { onScale, signal, count, batchSize, ...given } = options
    const call = parseConfig(callSchema, { count, batchSize }, 'the options of generate')
    const settings = this.#settings(given)
    const list = typeof prompts === 'string' ? [prompts] : [...prompts]
    if (list.length === 0) throw new StarError('ERR_ARGUMENT', 'no prompt was given: pass at least one')
    for (const prompt of list) checkPrompt(prompt)
    const jobs = list.flatMap((prompt, p) =>
      Array.from(
        { length: call.count },
        (_, j): Job => ({ index: p * call.count + j, prompt, seed: settings.seed + j }),
      ),
    )
    for (let begin = 0; begin < jobs.length; begin += call.batchSize) {
      const batch = jobs.slice(begin, begin + call.batchSize)
      yield* await this.#generateBatch(batch, settings, jobs.length, { onScale, signal })
    }
  }

  /** Options that are given go before the model's defaults, those before the general ones. */
  #settings(given: SamplingOptions): SamplingSettings {
    const named = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
    return parseConfig(samplingSchema, { ...this.model.sampling, ...named }, 'the sampling settings')
  }

  async #generateBatch(
    jobs: readonly Job[],
    settings: SamplingSettings,
    total: number,
    { onScale, signal }: Pick<StarGenerateOptions, 'onScale' | 'signal'>,
  ): Promise<StarImage[]> {
    const distinct = [...new Set(jobs.map((job) => job.prompt))]
    const { lengths: _, ...text } = scope(() => {
      const encoded = this.textEncoder.encode([...distinct, ''], { trim: true })
      for (const tensor of [encoded.states, encoded.pooled, encoded.mask]) keep(tensor)
      return encoded
    })
    const side = imageSide(this.tokenizer.config)
    const toImages = (pixels: readonly Uint8Array[]): StarImage[] =>
      pixels.map((data, i) => {
        const own: ImageSettings = { prompt: jobs[i].prompt, model: this.model.name, ...settings, seed: jobs[i].seed }
        return new StarImage(side, side, data, own)
      })
    try {
      const pixels = await drawPictures({
        tokenizer: this.tokenizer,
        transformer: this.transformer,
        samplerHead: this.samplerHead,
        graphs: this.#graphs,
        text,
        empty: distinct.length,
        pictures: jobs.map(({ prompt, seed }) => ({ prompt: distinct.indexOf(prompt), seed })),
        settings,
        signal,
        onScale:
          onScale &&
          (({ preview, ...event }) =>
            onScale({
              ...event,
              images: jobs.map((job) => job.index),
              total,
              preview: () => toImages(preview()),
            })),
      })
      return toImages(pixels)
    } finally {
      for (const tensor of Object.values(text)) tensor.dispose()
    }
  }

  /** Frees the weights. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#graphs.dispose()
    this.tokenizer.dispose()
    this.transformer.dispose()
    this.samplerHead?.dispose()
    this.textEncoder.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** @throws ERR_ARGUMENT for another type */
function checkWeightType(dtype: WeightType | undefined): WeightType | undefined {
  if (dtype === undefined || weightTypes.includes(dtype)) return dtype
  throw new StarError('ERR_ARGUMENT', `dtype is ${JSON.stringify(dtype)}, expected ${weightTypes.join(', ')}`)
}

/** f16 holds weights that are stored in it exactly; bf16 holds any weight's size. */
function gpuType(source: ModelSource): WeightType {
  using weights = source.open('transformer')
  return Array.from(weights.entries).some(({ dtype }) => dtype === 'F16') ? 'f16' : 'bf16'
}
