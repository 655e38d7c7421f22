/** Where a loader takes samples from: an endless order of images with captions, whose place can be saved. */
import type { ImageCaptionDataset } from './dataset.js'
import type { FilterCounts } from './filters.js'
import { EpochSampler, type SamplerOptions } from './sampler.js'

/** A sample that was not decoded yet. */
export interface SourceSample {
  /** Name of the sample in its data set. */
  id: string
  captions: readonly string[]
  /** What errors call it. */
  describe: string
  /** The encoded image. @throws ERR_FILE when it cannot be read */
  read(): Promise<Uint8Array>
  /** The sample to take in its place when it is damaged; null: none, it is left out of the order. */
  substitute: (() => SourceSample) | null
}

export interface SourceStep {
  readonly sample: SourceSample
  /** Counted from 0. */
  epoch: number
  /** Number of the sample in the epoch. */
  position: number
  /** Number of the bucket that its picture goes to; 0 where there are none. */
  readonly bucket: number
}

export interface SampleSource {
  /** Samples of an epoch over all processes; null where only reading all tells. */
  readonly length: number | null
  /**
   * Whether each process has an order of its own, which the source gives; else it gives one order for all of them, of which
   * each takes its share.
   */
  readonly ownOrder: boolean
  /** Samples left out, by filter; of a stream those met so far. */
  readonly leftOut: FilterCounts
  /** Where samples are in buckets: the next `count` are all of one. */
  select?(count: number): Promise<void>
  /** The next sample; null at the end of the epoch where the source has only one. */
  next(): Promise<SourceStep | null>
  state(): unknown
  restore(state: unknown): void
  close(): void
}

/** Samples of packs, in the order of an `EpochSampler`. In place of a damaged one stands the next of its bucket. */
export class PackSource implements SampleSource {
  readonly ownOrder = false
  readonly #sampler: EpochSampler
  readonly #dataset: ImageCaptionDataset
  readonly #once: boolean

  constructor(dataset: ImageCaptionDataset, options: Omit<SamplerOptions, 'length'> & { once?: boolean }) {
    this.#dataset = dataset
    this.#sampler = new EpochSampler({ ...options, length: dataset.length })
    this.#once = options.once ?? false
  }

  get length(): number {
    return this.#sampler.length
  }

  get leftOut(): FilterCounts {
    return this.#dataset.leftOut
  }

  async next(): Promise<SourceStep | null> {
    const before = this.#sampler.state()
    if (this.#once && before.position === this.length) return null
    const [index] = this.#sampler.next(1)
    const { epoch, position } = this.#sampler.state()
    const sampleOf = (): SourceSample => this.#sample(index)
    return {
      // Of the samples of a batch most belong to other processes.
      get sample() {
        return sampleOf()
      },
      epoch,
      position: position - 1,
      bucket: this.#dataset.bucket(index),
    }
  }

  #sample(index: number): SourceSample {
    const dataset = this.#dataset
    return {
      id: dataset.id(index),
      captions: dataset.captions(index),
      describe: dataset.describe(index),
      read: () => dataset.read(index),
      substitute: () => this.#sample(this.#following(index)),
    }
  }

  /** The next sample of the same bucket, from the last one on the first. */
  #following(index: number): number {
    const dataset = this.#dataset
    let next = index
    do next = (next + 1) % dataset.length
    while (dataset.bucket(next) !== dataset.bucket(index))
    return next
  }

  state(): unknown {
    return this.#sampler.state()
  }

  restore(state: unknown): void {
    this.#sampler.restore(state as ReturnType<EpochSampler['state']>)
  }

  close(): void {
    this.#dataset.close()
  }
}
