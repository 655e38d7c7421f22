/**
 * From a source of samples to batches ready for training: reads, decodes, crops and resizes several images at once, in the
 * order of the source. It runs in a thread of its own (see loader.ts), so nothing here may depend on when things are done.
 */
import { createHash } from 'node:crypto'
import { StarError } from '../native/index.js'
import { philox, type Share } from '../tensor/index.js'
import type { BadRecords } from './bad-records.js'
import { preprocessImage } from './preprocess.js'
import { cacheKeyBytes, type RecordCache } from './record-cache.js'
import { shareOf } from './share.js'
import type { SampleSource, SourceSample, SourceStep } from './source.js'

/** A sample ready for training. */
export interface LoadedSample {
  /** Name of the sample in its data set. */
  id: string
  captions: readonly string[]
  /** Key of the picture, as it is mirrored, in a cache; null where the loader has none. */
  key: Buffer | null
  /** What the cache holds for this key; null where it holds nothing. */
  cached: Uint8Array | null
  /** resolution²·3 bytes, row-major RGB; null where all samples of the batch are cached. */
  pixels: Uint8Array | null
}

export interface LoadedBatch {
  /** This process's share of what was asked for; fewer at the end of a source that ends. */
  samples: LoadedSample[]
  /** The epoch of the last sample of the whole batch, counted from 0. */
  epoch: number
}

export interface PipelineOptions {
  resolution: number
  /** This process and how many there are. Default 0 of 1. */
  rank?: number
  ranks?: number
  /** Images worked on at once. */
  workers: number
  seed: number
  /** Chance that an image is mirrored left to right; drawn for each place in the order. */
  flip: number
  /** Where results made of pictures are kept: a batch whose pictures are all in it is not decoded. */
  cache: RecordCache | null
  bad: BadRecords
}

/** Damaged samples in a row that are replaced before the data set is given up. */
const longestRun = 1000

/** Lets `limit` callers at a time through, in the order they came. */
class Gate {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(limit: number) {
    this.#free = limit
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}

/** A picture that was read; decoded too, unless it is cached. */
interface Read {
  sample: SourceSample
  bytes: Uint8Array
  mirrored: boolean
  key: Buffer | null
  cached: Uint8Array | null
  pixels: Uint8Array | null
}

export class Pipeline {
  readonly #source: SampleSource
  readonly #options: PipelineOptions
  readonly #gate: Gate
  /** The pulling of samples for the batches asked for, one batch after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(source: SampleSource, options: PipelineOptions) {
    this.#source = source
    this.#options = options
    this.#gate = new Gate(options.workers)
  }

  /**
   * This process's share of the next `count` samples, and where the source stands behind all of them. Several calls may be
   * under way.
   * @param whole gives all of them; where each process has an order of its own, as many of this one's
   * @throws ERR_CONFIG when the processes cannot share so many evenly
   */
  async next(count: number, whole = false): Promise<LoadedBatch & { state: unknown }> {
    const turn = this.#turn.then(() => this.#pull(count, whole))
    this.#turn = turn.catch(() => {})
    const { reads, epoch, state } = await turn
    const made = (await Promise.all(reads)).filter((read) => read !== null)
    const missing = made.some(({ pixels }) => pixels !== null)
    const samples = await Promise.all(made.map((read) => this.#loaded(read, missing)))
    return { samples, epoch, state }
  }

  /** Resumes from a saved state once the batches asked for are pulled. @throws ERR_ARGUMENT, from `next`, for another's */
  restore(state: unknown): void {
    this.#turn = this.#turn.then(() => this.#source.restore(state))
  }

  /** Of the next `total` samples of the source, those that are to be loaded. */
  #share(count: number, whole: boolean): Share {
    if (whole) return { total: count, begin: 0, end: count }
    const share = shareOf(count, this.#options)
    if (!this.#source.ownOrder) return share
    const own = share.end - share.begin
    return { total: own, begin: 0, end: own }
  }

  async #pull(
    count: number,
    whole: boolean,
  ): Promise<{ reads: Promise<Read | null>[]; epoch: number; state: unknown }> {
    const { total, begin, end } = this.#share(count, whole)
    let reads: Promise<Read | null>[] = []
    let [epoch, state] = [0, this.#source.state()]
    for (let [round, place] = [0, 0]; ; round++) {
      let drops = false
      for (; place < total; place++) {
        const step = await this.#source.next()
        if (!step) return { reads, epoch, state }
        epoch = step.epoch
        state = step.after
        if (place < begin || place >= end) continue
        const { sample } = step
        drops ||= sample.substitute === null
        const read = this.#gate.run(() => this.#readable(sample, this.#mirrors(step)))
        read.catch(() => {})
        reads.push(read)
      }
      if (!drops) return { reads, epoch, state }
      // What follows in a stream, all of which is this process's, makes up for the damaged samples.
      const kept = (await Promise.all(reads)).filter((read) => read !== null)
      if (kept.length === total) return { reads, epoch, state }
      if (round === longestRun) this.#giveUp()
      reads = kept.map((read) => Promise.resolve(read))
      place = kept.length
    }
  }

  /** Whether the image at a place in the order is mirrored: the same on every run. */
  #mirrors({ epoch, position }: SourceStep): boolean {
    const { flip, seed } = this.#options
    if (flip <= 0) return false
    const [draw] = philox(seed, 0x5eed0000 + epoch, position)
    return draw / 2 ** 32 < flip
  }

  /** The sample, or the first sound one of those that stand in for it; null where none does. */
  async #readable(sample: SourceSample, mirrored: boolean): Promise<Read | null> {
    let candidate = sample
    for (let n = 0; n < longestRun; n++) {
      const read = await this.#read(candidate, mirrored)
      if (read || !candidate.substitute) return read
      candidate = candidate.substitute()
    }
    return this.#giveUp()
  }

  #giveUp(): never {
    throw new StarError(
      'ERR_FILE',
      `${longestRun} images in a row are damaged; the first: ${this.#options.bad.first}. Run "star pack verify" on the data, or copy it again`,
    )
  }

  /** Null when it is damaged. */
  async #read(sample: SourceSample, mirrored: boolean): Promise<Read | null> {
    const { bad, cache } = this.#options
    if (bad.has(sample.describe)) return null
    const bytes = await this.#unlessDamaged(sample, () => sample.read())
    if (!bytes) return null
    const key = cache ? contentKey(bytes, mirrored) : null
    // Taken now: until the batch is used, other processes may drop the entry.
    const cached = key && cache!.get(key)
    if (cached) return { sample, bytes, mirrored, key, cached, pixels: null }
    const pixels = await this.#unlessDamaged(sample, () => this.#preprocess(sample, bytes, mirrored))
    return pixels && { sample, bytes, mirrored, key, cached, pixels }
  }

  /** What `work` on a sample gives; null, and the sample is noted, where its data is damaged. */
  async #unlessDamaged<T>(sample: SourceSample, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
      this.#options.bad.add(sample.describe, error.message)
      return null
    }
  }

  #preprocess(sample: SourceSample, bytes: Uint8Array, mirrored: boolean): Promise<Uint8Array> {
    return preprocessImage(bytes, this.#options.resolution, { name: sample.describe, mirrored })
  }

  async #loaded({ sample, bytes, mirrored, key, cached, pixels }: Read, decoded: boolean): Promise<LoadedSample> {
    const needed = decoded && !pixels
    return {
      id: sample.id,
      captions: sample.captions,
      key,
      cached,
      pixels: needed ? await this.#gate.run(() => this.#preprocess(sample, bytes, mirrored)) : pixels,
    }
  }
}

/** Key of a picture in a cache: a hash of its encoded bytes, whose first bit says whether it is mirrored. */
export function contentKey(bytes: Uint8Array, mirrored: boolean): Buffer {
  const key = createHash('sha256').update(bytes).digest().subarray(0, cacheKeyBytes)
  key[0] = (key[0] & 0xfe) | (mirrored ? 1 : 0)
  return key
}
