/** Star: a loaded model that makes pictures of prompts. */
import { z } from 'zod'
import { StarAnimation } from './animation.js'
import { StarAttention } from './attention.js'
import { parseConfig, shown } from './config/parse-config.js'
import { type ChangeCall, editCall, type StarEditOptions, type StarVaryOptions, varyCall } from './edit-options.js'
import type { Change, PictureSource } from './editing/index.js'
import type { AttendRequest, Drawing, DrawingModel, StarInfo, WordMaps } from './engine/drawing-model.js'
import { LoadedModel } from './engine/loaded-model.js'
import { chosenLoras, hashWithLoras, type LoraMode, type LoraOption, loraModes } from './engine/loras.js'
import { type CallOptions, type CallScale, DrawQueue } from './engine/queue.js'
import { ThreadModel } from './engine/thread-model.js'
import {
  checkOptions,
  functionSchema,
  type GenerateCall,
  generateCall,
  morphCall,
  named,
  type StarGenerateOptions,
  type StarMorphOptions,
  signalSchema,
} from './generate-options.js'
import { type ImageSettings, loraSchema, readSettings, StarImage } from './image.js'
import type { HubOptions } from './models/local.js'
import type { SourceOptions } from './models/source.js'
import { crossAttentionModes, type ModelType, modelTypes } from './models/star/index.js'
import { StarError } from './native/index.js'
import { type WeightType, weightTypes } from './nn/index.js'
import { checkedSize } from './picture-size.js'
import type { Prompt } from './prompts.js'
import { sampleVersions } from './sampling/index.js'
import {
  attentionCall,
  checkWords,
  type StarAttentionOptions,
  type StarWordEditOptions,
  wordEditCall,
} from './word-options.js'

/** A model folder says all but the device; what a checkpoint does not say is to be given. */
export interface LoadOptions extends SourceOptions, Pick<HubOptions, 'offline' | 'cacheDir'> {
  /** `auto` (the default) takes a GPU where one is available; `cpu` and `cuda` take that one or fail. */
  device?: string
  /**
   * Type of the transformer's and sampler head's weights and of the keys and values of a generation: 'f32', 'f16' or 'bf16'. 16
   * bits halve their memory; logits and the text encoder stay f32. 'int8' has the matrices of the blocks in 8 bits, a scale a row,
   * and all else in 16. 'auto', the default, is int8 where the weights are stored so; on the CPU bf16 where the processor multiplies
   * it faster (AMX, AMD's AVX-512 BF16), else f32; on a GPU f16 where the weights are stored in f16, else bf16. Pictures and `info()`
   * name the type that it became. 'f32' is for pictures that are to be the same on other machines.
   */
  dtype?: ModelType | 'auto'
  /** Element type in which the tokenizer's decoder makes pixels. Default: f16 on a GPU (tensor cores), f32 on the CPU. */
  decoderDtype?: WeightType
  /** LoRAs to draw with, several add up. The path of a LoRA in place of the model's stands for the model it was trained on with it. */
  lora?: readonly LoraOption[]
  /**
   * `apply` (the default) keeps the model's weights and adds the LoRAs to each product; `merge` adds them to the weights while
   * loading, which costs no time later and, in 16 bits, rounds.
   */
  loraMode?: LoraMode
  /**
   * Where the model lives: `worker` (the default) is a thread of its own, and the caller's event loop stays free; `main` is the
   * caller's thread, which is blocked while a scale is drawn.
   */
  thread?: 'worker' | 'main'
  /** Calls that may wait behind those at work; one more is refused with ERR_BUSY. Default: any number. */
  maxQueue?: number
  /** Called as parts of a Hugging Face model arrive. */
  onDownload?: HubOptions['onProgress']
  /**
   * Told in one line what the caller may want to know: why `auto` takes no GPU, that a LoRA was trained on other weights, or, once
   * for each size, that pictures are drawn at one that the model was not trained on. Nothing is printed.
   */
  onNotice?: (message: string, about: 'device' | 'lora' | 'size') => void
  /** Aborting ends the loading; a download resumes the next time. */
  signal?: AbortSignal
}

/** What a call drew. */
export interface StarResult {
  /** All pictures of the first prompt, then those of the second, … */
  images: StarImage[]
}

const loadSchema = z.strictObject({
  device: z.string().optional(),
  dtype: z.enum(['auto', ...modelTypes]).optional(),
  decoderDtype: z.enum(weightTypes).optional(),
  lora: z.array(loraSchema).optional(),
  loraMode: z.enum(loraModes).optional(),
  thread: z.enum(['worker', 'main']).default('worker'),
  maxQueue: z.int().min(0).default(Number.MAX_SAFE_INTEGER),
  offline: z.boolean().optional(),
  cacheDir: z.string().optional(),
  tokenizer: z.string().optional(),
  textEncoder: z.string().optional(),
  patchNums: z.array(z.int().min(1)).min(1).optional(),
  crossAttention: z.enum(crossAttentionModes).optional(),
  ropeTheta: z.number().positive().optional(),
  ropeNorm: z.number().positive().optional(),
  version: z.enum(sampleVersions).optional(),
  onDownload: functionSchema<LoadOptions['onDownload']>(),
  onNotice: functionSchema<LoadOptions['onNotice']>(),
  signal: signalSchema,
})

/** A loaded model that draws pictures of prompts. */
export class Star {
  readonly #model: DrawingModel
  readonly #queue: DrawQueue
  readonly #onNotice: LoadOptions['onNotice']
  /** Notices about sizes, each of which is told once. */
  readonly #told = new Set<string>()
  /** Pictures that are being read. */
  readonly #attending = new Set<Promise<unknown>>()
  #disposed: Promise<void> | null = null

  private constructor(model: DrawingModel, maxQueue: number, onNotice: LoadOptions['onNotice']) {
    this.#model = model
    this.#queue = new DrawQueue(model, maxQueue)
    this.#onNotice = onNotice
  }

  /**
   * Loads a shipped model by name, a model folder by path, or a checkpoint of the reference implementation (.pth, or safetensors
   * made from it), which needs a tokenizer file and a text encoder named or in their usual places. Each of them can be one of
   * Hugging Face: `org/name`, `org/name/file.pth`.
   * @throws ERR_FILE when it is not there or damaged, ERR_CONFIG and ERR_SHAPE when its files do not fit each other,
   * ERR_DEVICE for a device that is unknown or not available, ERR_ABORTED when the signal fires
   */
  static async load(nameOrPath: string, options: LoadOptions = {}): Promise<Star> {
    if (typeof nameOrPath !== 'string' || nameOrPath === '')
      throw new StarError(
        'ERR_ARGUMENT',
        `Star.load: the model is ${shown(nameOrPath)}, expected the name of a shipped model such as "emoji-64", or a path`,
      )
    checkOptions('Star.load', options)
    const { thread, maxQueue, ...given } = parseConfig(loadSchema, named(options), 'the options of Star.load')
    if (given.signal?.aborted)
      throw new StarError('ERR_ABORTED', 'the loading was aborted', { cause: given.signal.reason })
    const model = await (thread === 'main' ? LoadedModel : ThreadModel).load(nameOrPath, given)
    return new Star(model, maxQueue, given.onNotice)
  }

  /**
   * How a picture was made, from a file that star-t2i wrote.
   * @param file its path, or its bytes
   * @throws ERR_FILE when it cannot be read or does not say, ERR_ARGUMENT for a grid of several pictures
   */
  static async settingsOf(file: string | Uint8Array): Promise<ImageSettings> {
    const { all } = await readSettings(file)
    if (all.length !== 1)
      throw new StarError('ERR_ARGUMENT', `settingsOf: this is a grid of ${all.length} pictures, expected one picture`)
    return all[0]
  }

  /** The device that the weights are on. */
  get device(): string {
    return this.#model.info.device
  }

  /** Width and height of the pictures in pixels, where a call names no size. */
  get imageSize(): number {
    return this.#model.info.imageSize
  }

  /** Name, sizes, modes and defaults of the model, and how it runs. */
  info(): StarInfo {
    return this.#model.info
  }

  /**
   * Makes pictures of one or more prompts. The same prompt, seed and settings give the same picture. Calls wait in a queue.
   * @throws ERR_ARGUMENT for an empty or over-long prompt, a size that the model does not draw, or a LoRA that it was not loaded with,
   * ERR_CONFIG for settings out of range, ERR_BUSY where `maxQueue` calls wait, ERR_ABORTED when the signal fires or the model is
   * disposed
   */
  async generate(prompts: Prompt | readonly Prompt[], options: StarGenerateOptions = {}): Promise<StarResult> {
    const images: StarImage[] = []
    for await (const image of this.stream(prompts, options)) images.push(image)
    return { images }
  }

  /** The pictures of `generate` one by one, as soon as they are drawn. Leaving the loop ends the call. @throws as `generate` */
  async *stream(prompts: Prompt | readonly Prompt[], options: StarGenerateOptions = {}): AsyncGenerator<StarImage> {
    this.#checkLoaded('generate')
    yield* this.#draw(generateCall(prompts, options, this.#model.info))
  }

  /**
   * Draws a part of a picture anew (in-painting), or what lies beyond it (out-painting), so that it fits the prompt and the rest.
   * Pixels outside of the mask and its feathered edge keep their bytes. The result has the picture's size (and what it is extended
   * by); the model sees a square around the part, at its own size.
   *
   * With `from` and `to` in place of a prompt and a mask, words say what changes: the part in which the picture attends differently to
   * the two prompts is led away from what it shows, the rest is held. The result is as that of `vary`.
   * @param image path of a file, bytes of one (PNG, JPEG, WebP, AVIF), or pixels, such as a `StarImage`
   * @throws as `generate`; ERR_ARGUMENT for a mask that is empty, covers everything or has another size; ERR_FILE for a file that cannot be read
   */
  async edit(image: PictureSource, options: StarEditOptions | StarWordEditOptions): Promise<StarResult> {
    this.#checkLoaded('edit')
    checkOptions('edit', options)
    if ('from' in options || 'to' in options) return this.#editWords(image, options as StarWordEditOptions)
    return this.#all(await editCall(image, options, this.#model.info))
  }

  async #editWords(image: PictureSource, options: StarWordEditOptions): Promise<StarResult> {
    const { from, to, change, ...call } = await wordEditCall(image, options, this.#model.info)
    const { pixels } = change.given
    const lora = this.#strengths(call.lora)
    const [own, other] = await this.#attend({ prompts: [from, to], pixels, size: call.size, lora }, call.signal)
    const given = change.nudged(own.words, other.words)
    return this.#all({ ...call, change: { ...change, given } })
  }

  /**
   * Where a picture shows the words of a prompt: for each of them how much each position attends to it. The picture is one of the
   * prompt, drawn with the options, or `image`.
   * @throws as `generate`; ERR_ARGUMENT for a prompt with weights, or scales or blocks that the model has not, ERR_CONFIG for a model
   * without cross-attention, ERR_FILE for a file that cannot be read
   */
  async attention(prompt: string, options: StarAttentionOptions = {}): Promise<StarAttention> {
    this.#checkLoaded('attention')
    const call = await attentionCall(prompt, options, this.#model.info)
    const { size, scales, blocks, drawing } = call
    const pixels = call.pixels ?? (await this.generate(call.prompt, drawing)).images[0].data
    const lora = this.#strengths(drawing.lora)
    const request = { prompts: [call.prompt], pixels, size, scales, blocks, lora }
    const [{ rows, cols, words }] = await this.#attend(request, drawing.signal)
    const { imageSize } = this.#model.info
    const { width, height } = size ?? { width: imageSize, height: imageSize }
    return new StarAttention({ width, height, data: pixels }, rows, cols, words)
  }

  #strengths(wanted: readonly LoraOption[] | undefined): readonly number[] {
    return chosenLoras(this.#model.info, wanted).map(({ strength }) => strength)
  }

  /** The maps of each prompt. @throws ERR_ABORTED when the signal fires or the model is disposed */
  async #attend(request: AttendRequest, signal?: AbortSignal): Promise<WordMaps[]> {
    this.#checkLoaded('attention')
    const work = this.#model.attend(request)
    this.#attending.add(work)
    try {
      const maps = await work
      if (signal?.aborted) throw new StarError('ERR_ABORTED', 'the call was aborted', { cause: signal.reason })
      checkWords(maps)
      return maps
    } finally {
      this.#attending.delete(work)
    }
  }

  /**
   * Makes pictures that are like a given one: its coarse scales are kept, the others are drawn. The model sees the picture's middle,
   * and the result has the size that is asked for, the model's square by default.
   * @param image path of a file, bytes of one (PNG, JPEG, WebP, AVIF), or pixels, such as a `StarImage`
   * @throws as `generate`; ERR_FILE for a file that cannot be read
   */
  async vary(image: PictureSource, options: StarVaryOptions): Promise<StarResult> {
    this.#checkLoaded('vary')
    return this.#all(await varyCall(image, options, this.#model.info))
  }

  /**
   * Pictures that lead from one prompt to another: each is drawn from both, with weights that go from one to the other, and from the
   * same random numbers.
   * @throws as `generate`
   */
  async morph(from: Prompt, to: Prompt, options: StarMorphOptions = {}): Promise<StarAnimation> {
    this.#checkLoaded('morph')
    const { images } = await this.#all(morphCall(from, to, options, this.#model.info))
    return new StarAnimation(images)
  }

  #checkLoaded(name: string): void {
    if (this.#disposed) throw new StarError('ERR_ARGUMENT', `${name}: this model was disposed; load it again`)
  }

  async #all(call: GenerateCall & Partial<ChangeCall>): Promise<StarResult> {
    const images: StarImage[] = []
    for await (const image of this.#draw(call)) images.push(image)
    return { images }
  }

  /** The size that a call draws, undefined for the model's square. @throws ERR_ARGUMENT for one that the model does not draw */
  #sizeOf(wanted: GenerateCall['size'], change?: Change): GenerateCall['size'] {
    const { size, notice } = checkedSize(wanted, this.#model.info)
    // A part of a picture is drawn as a square around it, whatever the picture's shape.
    if (notice && !change?.square && !this.#told.has(notice)) {
      this.#told.add(notice)
      this.#onNotice?.(notice, 'size')
    }
    return size
  }

  async *#draw(call: GenerateCall & Partial<ChangeCall>): AsyncGenerator<StarImage> {
    const {
      prompts,
      change,
      edited,
      count,
      batchSize,
      priority,
      onStart,
      onScale,
      signal,
      negativePrompt,
      size: wanted,
      lora: wantedLoras,
      ...settings
    } = call
    const { info } = this.#model
    const loras = chosenLoras(info, wantedLoras)
    const size = this.#sizeOf(wanted, change)
    const shared = { negative: negativePrompt, given: change?.given }
    const drawings = prompts.flatMap(({ text, parts }) =>
      Array.from({ length: count }, (_, j) => ({ prompt: text, parts, seed: settings.seed + j, ...shared })),
    )
    const { imageSize, name, baseWeights, dtype, device, loraMode } = info
    const active = loras.flatMap(({ path, strength }) => (strength === 0 ? [] : [{ path, strength }]))
    const made = {
      model: name,
      weights: hashWithLoras(baseWeights, loras, loraMode),
      dtype,
      device,
      ...(active.length > 0 && { lora: active, loraMode }),
      ...settings,
      ...named({ negativePrompt, edited, size }),
    }
    const image = async (data: Uint8Array, i: number): Promise<StarImage> => {
      const { prompt, seed } = drawings[i]
      const square = { width: imageSize, height: imageSize }
      const whole = change ? await change.finish(data) : { ...(size ?? square), data }
      return new StarImage(whole.width, whole.height, whole.data, { ...made, prompt, seed })
    }
    const tell =
      onScale &&
      (({ preview, ...event }: CallScale) =>
        onScale({
          ...event,
          total: drawings.length,
          preview: async () => Promise.all((await preview()).map((data, i) => image(data, event.images[i]))),
        }))
    let i = 0
    const lora = loras.map(({ strength }) => strength)
    const queued = { settings, size, lora, batchSize, priority, signal, onStart, onScale: tell }
    const { refined = null } = change ?? {}
    const drawn = refined ? this.#refine(drawings, refined, queued) : this.#queue.draw(drawings, queued)
    for await (const data of drawn) yield image(data, i++)
  }

  /** Pictures that stand on what the model draws of their prompts alone: some at a time, first those, then the pictures. */
  async *#refine(
    drawings: readonly Drawing[],
    refined: NonNullable<Change['refined']>,
    options: CallOptions,
  ): AsyncGenerator<Uint8Array> {
    const { batchSize, onStart, onScale } = options
    /** Both drawings are counted as one of twice as many scales. */
    const told = (begin: number, drawing: 0 | 1): CallOptions['onScale'] =>
      onScale &&
      (({ scaleIndex, scales, images, ...event }) =>
        onScale({
          ...event,
          scaleIndex: drawing * scales + scaleIndex,
          scales: 2 * scales,
          images: images.map((image) => begin + image),
        }))
    for (let begin = 0; begin < drawings.length; begin += batchSize) {
      const part = drawings.slice(begin, begin + batchSize)
      const alone = part.map(({ given: _, ...drawing }) => drawing)
      const changed: Drawing[] = []
      const later = begin > 0
      const first = { ...options, admitted: later, onStart: later ? undefined : onStart, onScale: told(begin, 0) }
      for await (const pixels of this.#queue.draw(alone, first))
        changed.push({ ...part[changed.length], given: refined(pixels) })
      const second = { ...options, admitted: true, onStart: undefined, onScale: told(begin, 1) }
      yield* this.#queue.draw(changed, second)
    }
  }

  /** Ends the calls that wait or are at work with ERR_ABORTED, and frees the weights once nothing uses them. */
  dispose(): Promise<void> {
    this.#disposed ??= Promise.all([this.#queue.close(), Promise.allSettled(this.#attending)]).then(() =>
      this.#model.dispose(),
    )
    return this.#disposed
  }

  /** `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}
