/** The work of a server: requests for pictures, how many of them may wait, where each stands, and their end. */
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { Star, StarGenerateOptions, StarImage } from '../../index.js'
import { StarError } from '../../native/error.js'
import { HttpError } from '../http/errors.js'
import type { ModelPool, PooledModel } from './pool.js'

export interface JobRequest {
  model: PooledModel
  prompt: string
  /** Whose request: an interrupt of AUTOMATIC1111's API ends those of that API alone. */
  api: 'openai' | 'a1111'
  options: Pick<
    StarGenerateOptions,
    'count' | 'seed' | 'size' | 'lora' | 'cfg' | 'topK' | 'topP' | 'speed' | 'negativePrompt' | 'onScale'
  >
  /** Draws in another way than from the prompt alone. */
  draw?: (star: Star, options: StarGenerateOptions) => AsyncGenerator<StarImage>
  /** Fires when nobody waits for the pictures any more. */
  signal: AbortSignal
  /** Told how many requests come before this one, whenever that changes. */
  onPosition?: (ahead: number) => void
  onStart?: () => void
}

export interface Job {
  readonly id: string
  readonly request: JobRequest
  readonly created: number
  state: 'waiting' | 'drawing'
  started: number
  /** Scales of its first picture that are drawn, of how many. */
  scale: number
  scales: number
  /** Pictures that were handed out. */
  done: number
  /** Pictures that are drawn, those at work by the share of their scales. */
  drawn: number
  readonly controller: AbortController
}

/** What is counted of jobs. */
export interface JobMeter {
  started(model: string, seconds: number): void
  ended(model: string, seconds: number, pictures: number): void
  refused(reason: string): void
}

export interface JobsOptions {
  /** Requests that may wait behind those at work. */
  queue: number
  /** Pictures drawn together at most. */
  batch: number
  /**
   * Milliseconds that a request is held for which there is no room, before it is refused: clients that ask again at once would
   * otherwise take the processor from the model. Default 2000.
   */
  hold?: number
  meter?: JobMeter
}

export class Jobs {
  /** In the order they came. */
  readonly all = new Set<Job>()
  #stopping = false

  constructor(
    private readonly pool: ModelPool,
    private readonly options: JobsOptions,
  ) {}

  get waiting(): number {
    let count = 0
    for (const { state } of this.all) if (state === 'waiting') count++
    return count
  }

  get stopping(): boolean {
    return this.#stopping
  }

  /**
   * The pictures of a request, one by one.
   * @throws 429 where too many requests wait, 503 where the server is stopping or the model cannot be had, ERR_ABORTED
   */
  async *run(request: JobRequest): AsyncGenerator<StarImage> {
    const job = await this.#admit(request)
    const signal = AbortSignal.any([request.signal, job.controller.signal])
    this.#tellPositions(request.model)
    // A generator cannot yield from inside of `use`: the model is held until the last picture was taken.
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    try {
      const stream = await new Promise<AsyncGenerator<StarImage>>((resolve, reject) => {
        this.pool
          .use(
            request.model,
            async (star) => {
              const { onScale, ...settings } = request.options
              const options: StarGenerateOptions = {
                ...settings,
                batchSize: this.options.batch,
                signal,
                onStart: () => this.#start(job),
                onScale:
                  onScale &&
                  (async (event) => {
                    job.scale = event.scaleIndex + 1
                    job.scales = event.scales
                    job.drawn = event.images[0] + (event.images.length * job.scale) / job.scales
                    await onScale(event)
                  }),
              }
              resolve(request.draw ? request.draw(star, options) : star.stream(request.prompt, options))
              await held
            },
            signal,
          )
          .catch(reject)
      })
      for await (const image of stream) {
        job.done++
        yield image
      }
    } catch (error) {
      if (this.#stopping && error instanceof StarError && error.code === 'ERR_ABORTED') throw stopped()
      throw error
    } finally {
      release()
      this.all.delete(job)
      if (job.state === 'drawing')
        this.options.meter?.ended(request.model.id, (performance.now() - job.started) / 1000, job.done)
      this.#tellPositions(request.model)
    }
  }

  /** @throws 429 where there is no room, also after a moment */
  async #admit(request: JobRequest): Promise<Job> {
    if (!this.#stopping && !this.#hasRoom())
      await setTimeout(this.options.hold ?? 2000, null, { signal: request.signal }).catch(() => {})
    if (this.#stopping) throw stopped()
    if (this.#hasRoom()) {
      const job: Job = {
        id: randomUUID(),
        request,
        created: performance.now(),
        state: 'waiting',
        started: 0,
        scale: 0,
        scales: 0,
        done: 0,
        drawn: 0,
        controller: new AbortController(),
      }
      this.all.add(job)
      return job
    }
    this.options.meter?.refused('queue_full')
    throw new HttpError(429, `${this.waiting} requests wait already, and more are not taken: try again soon`, {
      code: 'queue_full',
      retryAfter: 2,
    })
  }

  #hasRoom(): boolean {
    const { queue, batch } = this.options
    const { waiting } = this
    // Those that a model at rest takes at once wait for a moment only.
    return waiting < (this.all.size === waiting ? queue + batch : queue)
  }

  #start(job: Job): void {
    job.state = 'drawing'
    job.started = performance.now()
    this.options.meter?.started(job.request.model.id, (job.started - job.created) / 1000)
    job.request.onStart?.()
    this.#tellPositions(job.request.model)
  }

  #tellPositions(model: PooledModel): void {
    let ahead = 0
    for (const { state, request } of this.all) {
      if (state !== 'waiting' || request.model !== model) continue
      request.onPosition?.(ahead++)
    }
  }

  /** Ends the jobs of one API. */
  interrupt(api: JobRequest['api']): void {
    for (const { request, controller } of this.all) if (request.api === api) controller.abort('interrupted')
  }

  /** Takes no more requests, waits for those at work for that many milliseconds, then ends them. */
  async stop(milliseconds: number): Promise<void> {
    this.#stopping = true
    for (const end = Date.now() + milliseconds; this.all.size > 0 && Date.now() < end; ) await setTimeout(50)
    for (const { controller } of this.all) controller.abort('the server is stopping')
    // Their answers are written in the turns after.
    for (let i = 0; i < 100 && this.all.size > 0; i++) await setTimeout(10)
  }
}

const stopped = (): HttpError => new HttpError(503, 'the server is stopping', { code: 'stopping', retryAfter: 10 })
