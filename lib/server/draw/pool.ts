/** The models of a server: loaded when they are first asked for, unloaded when nobody does or memory runs short. */
import { totalmem } from 'node:os'
import { basename } from 'node:path'
import { type ModelInfo, modelInfo } from '../../engine/model-info.js'
import { localModel } from '../../models/local.js'
import type { SourceOptions } from '../../models/source.js'
import { StarError } from '../../native/error.js'
import { type LoadOptions, Star } from '../../star.js'
import { HttpError } from '../http/errors.js'
import { type ModelCard, readCard } from './card.js'
import { type FoundLora, findLoras, lorasOf, type OfferedLora } from './loras.js'

export interface PoolOptions {
  /** How models are loaded. */
  load?: Omit<LoadOptions, 'signal' | 'maxQueue'>
  /** LoRAs that requests may choose, or folders of them; each is offered with the models that it fits. */
  loras?: readonly string[]
  /** Milliseconds after which a model that nobody uses is unloaded; 0: never. */
  idleUnload: number
  /** Milliseconds that a request waits for its model to be loaded. Default 30 s. */
  loadWait?: number
  log?: (line: string) => void
  /** Bytes that programs can still take, for tests. */
  available?: () => number
}

/** A model that the server knows. */
export class PooledModel {
  star: Star | null = null
  loading: Promise<Star> | null = null
  /** Requests at work with it, or waiting for it. */
  users = 0
  lastUsed = 0
  /** LoRAs that requests may choose. */
  loras: readonly OfferedLora[] = []
  readonly added = Math.floor(Date.now() / 1000)

  constructor(
    /** Name in the API. */
    readonly id: string,
    readonly source: string,
    /** Known before loading where the model is on this machine. */
    public info: ModelInfo | null,
    public card: ModelCard,
  ) {}

  get state(): 'unloaded' | 'loading' | 'ready' {
    return this.star ? 'ready' : this.loading ? 'loading' : 'unloaded'
  }
}

/** Memory is short when less than this share of the machine's is left. */
const leastFree = 0.05
/** Milliseconds between looks at idle models and memory. */
const sweepInterval = 2000

/** `org/name` and paths by their last part; twice the same gets a number. */
function names(sources: readonly string[]): string[] {
  const taken = new Set<string>()
  return sources.map((source) => {
    const path = source.replace(/[\\/]+$/, '')
    const last = basename(path)
    // What runs export is called "model"; the run's name says more.
    const base = (last === 'model' ? basename(path.slice(0, -last.length - 1)) || last : last) || source
    let name = base
    for (let i = 2; taken.has(name); i++) name = `${base}-${i}`
    taken.add(name)
    return name
  })
}

export class ModelPool {
  readonly #models: PooledModel[] = []
  readonly #options: PoolOptions
  readonly #loras: readonly FoundLora[]
  readonly #timer: NodeJS.Timeout
  readonly #closing = new AbortController()

  /**
   * @throws as `modelInfo` where a model that is no name of Hugging Face is missing or damaged, as `findLoras` for LoRAs, ERR_ARGUMENT
   * where LoRAs to choose would be merged
   */
  constructor(sources: readonly string[], options: PoolOptions) {
    this.#options = options
    this.#loras = findLoras(options.loras ?? [])
    if (this.#loras.length > 0 && options.load?.loraMode === 'merge')
      throw new StarError(
        'ERR_ARGUMENT',
        'LoRAs that requests choose cannot be merged into the weights: leave out --lora-mode merge, or name LoRAs by --lora alone',
      )
    const ids = names(sources)
    sources.forEach((source, i) => {
      this.add(source, ids[i])
    })
    this.#timer = setInterval(() => void this.#sweep(), sweepInterval)
    this.#timer.unref()
  }

  get models(): readonly PooledModel[] {
    return this.#models
  }

  /** One more model. @throws as `modelInfo` */
  add(source: string, id: string): PooledModel {
    const info = describe(source, this.#options.load)
    const model = new PooledModel(id, source, info, readCard(info?.path ?? source))
    if (info) model.loras = this.#lorasOf(model, info.path, sourceOptions(this.#options.load))
    this.#models.push(model)
    return model
  }

  #lorasOf({ source }: PooledModel, path: string, options: SourceOptions): OfferedLora[] {
    const { lora: given = [], loraMode } = this.#options.load ?? {}
    // Merged ones are part of the weights.
    return loraMode === 'merge' ? [] : lorasOf({ source, path, options, given, found: this.#loras })
  }

  /** The model of that name, or the first one. @throws 404 where there is none */
  find(id?: string | null): PooledModel {
    const model = id ? this.models.find((candidate) => candidate.id === id) : this.models.at(0)
    if (model) return model
    throw new HttpError(
      404,
      `there is no model "${(id ?? '').slice(0, 100)}"; this server has ${this.models.map((known) => known.id).join(', ') || 'none yet'}`,
      {
        param: 'model',
        code: 'model_not_found',
      },
    )
  }

  /**
   * Runs `work` with a model, which stays loaded meanwhile.
   * @throws 503 where it cannot be loaded, or is not loaded in time; its loading continues
   */
  async use<T>(model: PooledModel, work: (star: Star) => Promise<T>, signal?: AbortSignal): Promise<T> {
    model.users++
    try {
      return await work(model.star ?? (await this.#wait(model, signal)))
    } finally {
      model.users--
      model.lastUsed = Date.now()
    }
  }

  async #wait(model: PooledModel, signal?: AbortSignal): Promise<Star> {
    const loading = this.load(model)
    const { loadWait = 30_000 } = this.#options
    let timer: NodeJS.Timeout | undefined
    let abort = (): void => {}
    const ended = new Promise<never>((_, reject) => {
      const late = new HttpError(503, `the model ${model.id} is being loaded: try again soon`, {
        code: 'model_loading',
        retryAfter: 5,
      })
      timer = setTimeout(() => reject(late), loadWait)
      abort = () => reject(new StarError('ERR_ABORTED', 'the request was cancelled', { cause: signal?.reason }))
      if (signal?.aborted) abort()
      else signal?.addEventListener('abort', abort, { once: true })
    })
    try {
      return await Promise.race([loading, ended])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Loads a model, once for all who wait for it. @throws 503 where that fails */
  load(model: PooledModel): Promise<Star> {
    if (model.star) return Promise.resolve(model.star)
    model.loading ??= this.#load(model).finally(() => {
      model.loading = null
    })
    // Those who wait are told; a request that waits no longer must not turn the fault into an unhandled one.
    model.loading.catch(() => {})
    return model.loading
  }

  async #load(model: PooledModel): Promise<Star> {
    const { load, log } = this.#options
    const signal = this.#closing.signal
    try {
      await this.#makeRoom(weightBytes(model.info), model)
      if (!model.info) {
        // One of Hugging Face, of which only its files tell which LoRAs fit.
        const { offline, cacheDir, onDownload: onProgress } = load ?? {}
        const here = await localModel(model.source, sourceOptions(load), { offline, cacheDir, onProgress, signal })
        model.loras = this.#lorasOf(model, here.path, here.options)
      }
      const others = model.loras.filter(({ path }) => path !== model.source)
      const lora = load?.loraMode === 'merge' ? load.lora : others.map(({ path, strength }) => ({ path, strength }))
      const open = (): Promise<Star> => Star.load(model.source, { ...load, lora, signal })
      const star = await open().catch(async (error: unknown) => {
        // Another model may be in the way, of which only the device knows.
        if (!(error instanceof StarError) || error.code !== 'ERR_MEMORY' || !(await this.#unloadIdle(model)))
          throw error
        return open()
      })
      if (!model.info) model.card = readCard(star.info().path)
      model.info = star.info()
      model.star = star
      model.lastUsed = Date.now()
      log?.(`${model.id} is loaded (${star.device})`)
      return star
    } catch (error) {
      if (signal.aborted) throw new HttpError(503, 'the server is stopping', { code: 'stopping' })
      log?.(`${model.id} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`)
      throw new HttpError(503, `the model ${model.id} cannot be loaded; the server's log says why`, {
        code: 'model_unavailable',
        retryAfter: 30,
      })
    }
  }

  /** Unloads idle models, those first that were not used for longest, until that many bytes are free. */
  async #makeRoom(bytes: number, wanted: PooledModel | null): Promise<void> {
    const free = this.#options.available ?? (() => process.availableMemory())
    while (free() < bytes && (await this.#unloadIdle(wanted)));
  }

  /** Unloads the model that was not used for longest. @returns whether there was one */
  async #unloadIdle(wanted: PooledModel | null): Promise<boolean> {
    const idle = this.models.filter((model) => model !== wanted && model.star && model.users === 0)
    idle.sort((a, b) => a.lastUsed - b.lastUsed)
    if (idle.length === 0) return false
    await this.#unload(idle[0], 'memory is short')
    return true
  }

  async #unload(model: PooledModel, why: string): Promise<void> {
    const { star } = model
    model.star = null
    await star?.dispose()
    this.#options.log?.(`${model.id} is unloaded: ${why}`)
  }

  async #sweep(): Promise<void> {
    const { idleUnload } = this.#options
    for (const model of this.models)
      if (idleUnload > 0 && model.star && model.users === 0 && Date.now() - model.lastUsed >= idleUnload)
        await this.#unload(model, `nobody asked for ${Math.round(idleUnload / 1000)} s`)
    await this.#makeRoom(leastFree * totalmem(), null)
  }

  /** Ends what is at work with the models, and frees them. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#closing.abort()
    await Promise.allSettled(this.models.map(({ loading }) => loading))
    await Promise.all(
      this.models.map(async (model) => {
        const { star } = model
        model.star = null
        await star?.dispose()
      }),
    )
  }
}

/** What there is to know of a model before it is loaded; null for one of Hugging Face, which is not here yet. */
function describe(source: string, load: PoolOptions['load']): ModelInfo | null {
  try {
    return modelInfo(source, sourceOptions(load))
  } catch (error) {
    if (error instanceof StarError && error.code === 'ERR_FILE' && isHubName(source)) return null
    throw error
  }
}

/** What a checkpoint does not say by itself. */
function sourceOptions(load: PoolOptions['load'] = {}): SourceOptions {
  const { tokenizer, textEncoder, patchNums, crossAttention, ropeTheta, ropeNorm, version } = load
  const options = { tokenizer, textEncoder, patchNums, crossAttention, ropeTheta, ropeNorm, version }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

const isHubName = (source: string): boolean => /^[\w.-]+\/[\w.@/-]+$/.test(source) && !source.startsWith('.')

/** Bytes that a model's weights take once loaded, and as much again for drawing at most. */
const weightBytes = (info: ModelInfo | null): number =>
  2 *
  4 *
  (info ? info.tokenizer.parameters + (info.transformer?.parameters ?? 0) + (info.samplerHead?.parameters ?? 0) : 0)
