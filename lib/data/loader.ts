/**
 * Training samples, loaded by a thread of its own beside training, a bounded number of batches ahead. The order, what is
 * mirrored and what stands in for damaged images depend on the data and the options only, so a saved place is exact. Of
 * packs they do not depend on the number of processes either, and a position saved by some can be resumed by any number.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { type ErrorCode, StarError } from '../native/index.js'
import type { AugmentOptions } from './augment/index.js'
import type { DatasetOptions } from './dataset.js'
import type { FilterCounts } from './filters.js'
import type { BatchMessage, Message, Request } from './loader-thread.js'
import type { LoadedBatch } from './pipeline.js'

export interface LoaderOptions extends DatasetOptions {
  /** Packs or folders of packs; or tars. */
  packs?: readonly string[]
  /** WebDataset tars, or folders of them. */
  tars?: readonly string[]
  /** Samples of an epoch of the tars over all processes, where that is known. */
  tarSamples?: number
  seed?: number
  /** This process and how many there are. */
  rank?: number
  ranks?: number
  /** False keeps the order of the data set. */
  shuffle?: boolean
  /** Ends after one epoch. */
  once?: boolean
  /** Chance that an image is mirrored left to right. */
  flip?: number
  /** Versions of records, of which each place in the order draws one; in place of `flip`. */
  augment?: AugmentOptions
  /** Images read and decoded at once. Default: the number of processor cores. */
  workers?: number
  /** Largest part of the records that may be damaged. Default 0.01. */
  badShare?: number
  /** Folder of a `RecordCache` with results made of pictures: a batch whose pictures are all in it comes without pixels. */
  cacheFolder?: string | null
  /** Told of each damaged record once. */
  onBad?: (message: string) => void
}

/** What the thread is started with. */
export type ThreadOptions = Omit<
  LoaderOptions,
  'onBad' | 'signal' | 'seed' | 'flip' | 'workers' | 'badShare' | 'cacheFolder'
> & {
  seed: number
  flip: number
  workers: number
  badShare: number
  cacheFolder: string | null
}

/** Batches that are loaded ahead of the one asked for. */
const ahead = 2

export class Loader {
  readonly #thread: Worker
  /** Samples of an epoch over all processes; null for tars of unknown content. */
  readonly length: number | null
  /** Whether each process has an order and places of its own: so it is with tars. */
  readonly ownOrder: boolean
  #leftOut: FilterCounts
  #state: unknown
  /** Where the data begins. */
  readonly #start: object
  /** Where the first request of the current generation is to begin, until it is sent. */
  #seek: unknown
  #generation = 0
  #requested: number[] = []
  #arrived: BatchMessage[] = []
  #wake: (() => void) | null = null
  #failure: StarError | null = null
  /** Whether the data had ended before the batch that was given out last. */
  #ended = false

  private constructor(thread: Worker, ready: Message & { kind: 'ready' }) {
    this.#thread = thread
    this.length = ready.length
    this.ownOrder = ready.ownOrder
    this.#state = ready.state
    this.#start = ready.state as object
    this.#leftOut = ready.leftOut
  }

  /**
   * Opens the data in a thread.
   * @throws ERR_FILE when data is missing or damaged, ERR_CONFIG when the filters leave no image, ERR_ABORTED when `signal`
   * fires before it is open
   */
  static async open(options: LoaderOptions): Promise<Loader> {
    const { onBad, signal, ...plain } = options
    if ((options.packs === undefined) === (options.tars === undefined))
      throw new StarError('ERR_ARGUMENT', 'Loader: expected either packs or tars')
    const workers = options.workers ?? availableParallelism()
    const data: ThreadOptions = { seed: 0, flip: 0, badShare: 0.01, cacheFolder: null, ...plain, workers }
    const thread = new Worker(new URL('./loader-thread.js', import.meta.url), { workerData: data })
    thread.unref()
    let loader: Loader | null = null
    let abort = (): void => {}
    return new Promise<Loader>((resolve, reject) => {
      abort = () => {
        void thread.terminate()
        reject(new StarError('ERR_ABORTED', 'opening of the data set was stopped', { cause: signal?.reason }))
      }
      signal?.addEventListener('abort', abort)
      if (signal?.aborted) abort()
      thread.on('message', (message: Message) => {
        if (message.kind === 'bad') onBad?.(message.message)
        else if (message.kind === 'ready') {
          loader = new Loader(thread, message)
          resolve(loader)
        } else if (loader) loader.#receive(message)
        else if (message.kind === 'error') {
          void thread.terminate()
          reject(new StarError(message.code as ErrorCode, message.message))
        }
      })
      thread.on('error', (error) => {
        const failure = new StarError('ERR_INTERNAL', `the thread that loads data failed: ${error.message}`)
        if (loader) loader.#fail(failure)
        else reject(failure)
      })
      // A thread that is waited for keeps the process alive.
      thread.ref()
    }).finally(() => {
      signal?.removeEventListener('abort', abort)
      thread.unref()
    })
  }

  /** Samples left out, by filter; of tars those met so far. */
  get leftOut(): FilterCounts {
    return this.#leftOut
  }

  #receive(message: Message): void {
    if (message.kind === 'error') this.#fail(new StarError(message.code as ErrorCode, message.message))
    else if (message.kind === 'batch' && message.generation === this.#generation) this.#arrived.push(message)
    this.#wake?.()
  }

  #fail(failure: StarError): void {
    this.#failure ??= failure
    this.#wake?.()
  }

  #request(count: number, whole = false): void {
    const request: Request = { generation: this.#generation, count, whole }
    if (this.#seek !== undefined) request.state = this.#seek
    this.#seek = undefined
    this.#requested.push(count)
    this.#thread.postMessage(request)
  }

  /**
   * This process's share of the next `count` samples of all processes: of N the r-th gets count/N, beginning with the
   * r·count/N-th. Fewer, or none, at the end where there is only one epoch. With buckets all of them are of one.
   * @throws ERR_FILE when too many images are damaged, ERR_CONFIG when the processes cannot share so many evenly
   */
  async next(count: number): Promise<LoadedBatch> {
    // What was requested ahead in another size is of no use.
    if (this.#requested.length > 0 && this.#requested[0] !== count) this.restore(this.#state)
    while (this.#requested.length < 1 + ahead) this.#request(count)
    const batch = await this.#take()
    this.#request(count)
    return batch
  }

  /**
   * The next `count` samples of all processes, of which none counts as taken; where each process has an order of its own, as
   * many of this one's.
   * @throws ERR_FILE when too many images are damaged
   */
  async peek(count: number): Promise<LoadedBatch> {
    const place = this.#state
    this.restore(place)
    this.#request(count, true)
    try {
      return await this.#take()
    } finally {
      this.restore(place)
    }
  }

  /** Waits for the batch that was requested first. */
  async #take(): Promise<LoadedBatch> {
    this.#thread.ref()
    try {
      while (this.#arrived.length === 0) {
        if (this.#failure) throw this.#failure
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    } finally {
      this.#wake = null
      this.#thread.unref()
    }
    const { samples, epoch, size, state, leftOut, ended } = this.#arrived.shift()!
    this.#requested.shift()
    this.#state = state
    this.#leftOut = leftOut
    this.#ended = ended
    return {
      samples: samples.map((sample) => ({ ...sample, key: sample.key && Buffer.from(sample.key) })),
      epoch,
      size,
    }
  }

  /** The place behind the samples that were given out; what is loaded ahead does not count. */
  state(): unknown {
    return this.#state
  }

  /** Resumes from a saved state. @throws ERR_ARGUMENT, from `next`, when it is no position in this data */
  restore(state: unknown): void {
    this.#generation++
    this.#requested = []
    this.#arrived = []
    this.#state = state
    this.#seek = state
  }

  /** Continues at the beginning of an epoch. */
  begin(epoch: number): void {
    this.restore({ ...this.#start, epoch })
  }

  /** All samples of this process from the start to the end, of a loader that was opened for one epoch. */
  async *pass(count: number): AsyncGenerator<LoadedBatch> {
    this.restore(this.#start)
    for (;;) {
      const batch = await this.next(count)
      if (batch.samples.length > 0) yield batch
      if (this.#ended) return
    }
  }

  /** Ends the thread. */
  close(): void {
    void this.#thread.terminate()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
