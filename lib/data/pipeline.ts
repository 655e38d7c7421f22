/**
 * From a source of samples to batches ready for training: reads, decodes, crops and resizes several images at once, in the
 * order of the source. It runs in a thread of its own (see loader.ts), so nothing here may depend on when things are done.
 */
import { StarError } from '../native/index.js'
import { philox, type Share } from '../tensor/index.js'
import { Augmenter, type AugmentOptions, type MadeVersion } from './augment/index.js'
import type { BadRecords } from './bad-records.js'
import { isSameSize, type PictureSize, sizeOf } from './buckets.js'
import { preprocessImage } from './preprocess.js'
import { contentKey, type RecordCache } from './record-cache.js'
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
  /** height·width·3 bytes of the batch's size, row-major RGB; null where all samples of the batch are cached. */
  pixels: Uint8Array | null
}

export interface LoadedBatch {
  /** This process's share of what was asked for; fewer at the end of a source that ends. */
  samples: LoadedSample[]
  /** The epoch of the last sample of the whole batch, counted from 0. */
  epoch: number
  /** Of all its pictures, in pixels. */
  size: PictureSize
}

/** A batch, and where the source stands behind all of it. */
export interface PipelineBatch extends LoadedBatch {
  state: unknown
  /** Whether the source had ended before it. */
  ended: boolean
}

export interface PipelineOptions {
  resolution: number
  /** Sizes of the pictures by the number of their bucket. Default: the square alone. */
  buckets?: readonly PictureSize[]
  /** This process and how many there are. Default 0 of 1. */
  rank?: number
  ranks?: number
  /** Images worked on at once. */
  workers: number
  seed: number
  /** Chance that an image is mirrored left to right; drawn for each place in the order. */
  flip: number
  /** Versions of records, of which each place in the order draws one; in place of `flip`. */
  augment?: AugmentOptions
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

/** What is decided about a place in the order, whichever record stands there. */
interface Draw {
  mirrored: boolean
  variant: number
  size: PictureSize
}

/** The samples of a batch under way. */
interface Pulled extends Omit<PipelineBatch, 'samples'> {
  reads: Promise<Read | null>[]
}

/** How the picture of a record becomes pixels. */
interface Recipe {
  key: Buffer | null
  /** Null where only the pixels tell. */
  captions: readonly string[] | null
  make: () => Promise<MadeVersion>
}

/** A picture that was read; decoded too, unless it is cached. */
interface Read {
  sample: SourceSample
  key: Buffer | null
  captions: readonly string[]
  cached: Uint8Array | null
  pixels: Uint8Array | null
  make: Recipe['make']
}

export class Pipeline {
  readonly #source: SampleSource
  readonly #options: PipelineOptions
  readonly #sizes: readonly PictureSize[]
  readonly #gate: Gate
  readonly #augmenter: Augmenter | null
  /** The pulling of samples for the batches asked for, one batch after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(source: SampleSource, options: PipelineOptions) {
    this.#source = source
    this.#options = options
    this.#sizes = options.buckets ?? [sizeOf(options.resolution)]
    this.#gate = new Gate(options.workers)
    this.#augmenter = options.augment ? new Augmenter(options.augment) : null
  }

  /**
   * This process's share of the next `count` samples, and where the source stands behind all of them. Several calls may be
   * under way.
   * @param whole gives all of them; where each process has an order of its own, as many of this one's
   * @throws ERR_CONFIG when the processes cannot share so many evenly
   */
  async next(count: number, whole = false): Promise<PipelineBatch> {
    const turn = this.#turn.then(() => this.#pull(count, whole))
    this.#turn = turn.catch(() => {})
    const { reads, ...batch } = await turn
    const made = (await Promise.all(reads)).filter((read) => read !== null)
    const missing = made.some(({ pixels }) => pixels !== null)
    const samples = await Promise.all(made.map((read) => this.#loaded(read, missing)))
    return { samples, ...batch }
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

  async #pull(count: number, whole: boolean): Promise<Pulled> {
    const { total, begin, end } = this.#share(count, whole)
    await this.#source.select?.(total)
    let reads: Promise<Read | null>[] = []
    let [epoch, bucket, ended] = [0, 0, true]
    const pulled = (): Pulled => ({ reads, epoch, size: this.#sizes[bucket], state: this.#source.state(), ended })
    for (let [round, place] = [0, 0]; ; round++) {
      let drops = false
      for (; place < total; place++) {
        const step = await this.#source.next()
        if (!step) return pulled()
        ;({ epoch, bucket } = step)
        ended = false
        if (place < begin || place >= end) continue
        const { sample } = step
        drops ||= sample.substitute === null
        const read = this.#gate.run(() => this.#readable(sample, this.#draw(step)))
        read.catch(() => {})
        reads.push(read)
      }
      if (!drops) return pulled()
      // What follows in a stream, all of which is this process's, makes up for the damaged samples.
      const kept = (await Promise.all(reads)).filter((read) => read !== null)
      if (kept.length === total) return pulled()
      if (round === longestRun) this.#giveUp()
      reads = kept.map((read) => Promise.resolve(read))
      place = kept.length
    }
  }

  /** What becomes of the image at a place in the order: the same on every run. */
  #draw({ epoch, position, bucket }: SourceStep): Draw {
    const { flip, seed, augment } = this.#options
    const size = this.#sizes[bucket]
    if (flip <= 0 && !augment) return { mirrored: false, variant: 0, size }
    const [mirror, variant] = philox(seed, 0x5eed0000 + epoch, position).map((draw) => draw / 2 ** 32)
    return { mirrored: mirror < flip, variant: augment ? Math.floor(variant * augment.variants) : 0, size }
  }

  /** The sample, or the first sound one of those that stand in for it; null where none does. */
  async #readable(sample: SourceSample, draw: Draw): Promise<Read | null> {
    let candidate = sample
    for (let n = 0; n < longestRun; n++) {
      const read = await this.#read(candidate, draw)
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
  async #read(sample: SourceSample, draw: Draw): Promise<Read | null> {
    const { bad, cache } = this.#options
    if (bad.has(sample.describe)) return null
    const bytes = await this.#unlessDamaged(sample, () => sample.read())
    if (!bytes) return null
    const { key, captions, make } = this.#recipe(sample, bytes, draw)
    // Taken now: until the batch is used, other processes may drop the entry.
    const cached = key && cache!.get(key)
    if (cached && captions) return { sample, key, captions, cached, pixels: null, make }
    const made = await this.#unlessDamaged(sample, make)
    return made && { sample, key, captions: made.captions, cached, pixels: cached ? null : made.pixels, make }
  }

  #recipe({ describe: name, captions }: SourceSample, bytes: Uint8Array, { mirrored, variant, size }: Draw): Recipe {
    const { cache, resolution } = this.#options
    // A cache is one of squares of the resolution by its name, so that other sizes are in the keys alone.
    const named = isSameSize(size, sizeOf(resolution))
    if (this.#augmenter) {
      const augmenter = this.#augmenter
      const version = augmenter.version(bytes, { captions, variant, size, named })
      return {
        key: cache && version.key,
        captions: augmenter.captionsOf(version),
        make: () => augmenter.make(version, bytes, name),
      }
    }
    const make = async () => ({ pixels: await preprocessImage(bytes, size, { name, mirrored }), captions })
    return { key: cache ? contentKey(bytes, mirrored, named ? undefined : size) : null, captions, make }
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

  async #loaded({ sample, key, captions, cached, pixels, make }: Read, decoded: boolean): Promise<LoadedSample> {
    const needed = decoded && !pixels
    return { id: sample.id, captions, key, cached, pixels: needed ? (await this.#gate.run(make)).pixels : pixels }
  }
}
