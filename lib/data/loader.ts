/** Training samples in the order of a sampler, decoded ahead of their use. */
import type { ImageCaptionDataset } from './dataset.js'
import { EpochSampler, type SamplerOptions, type SamplerState } from './sampler.js'

export interface LoadedSample {
  /** Number of the sample in its data set. */
  index: number
  /** Name of the sample in its data set. */
  id: string
  /** resolution²·3 bytes, row-major RGB */
  pixels: Uint8Array
}

export interface LoadedBatch {
  samples: LoadedSample[]
  /** The epoch of the last sample, counted from 0. */
  epoch: number
}

export interface LoaderOptions extends Omit<SamplerOptions, 'length'> {
  /** Samples decoded ahead of those that were asked for. Default 64. */
  ahead?: number
}

export class Loader {
  /** Samples of an epoch in this process. */
  readonly share: number
  readonly #dataset: ImageCaptionDataset
  readonly #options: LoaderOptions
  readonly #ahead: number
  #sampler: EpochSampler
  #queue: { sample: Promise<LoadedSample>; state: SamplerState }[] = []
  #state: SamplerState

  constructor(dataset: ImageCaptionDataset, options: LoaderOptions = {}) {
    this.#dataset = dataset
    this.#options = options
    this.#ahead = options.ahead ?? 64
    this.#sampler = new EpochSampler({ ...options, length: dataset.length })
    this.share = this.#sampler.share
    this.#state = this.#sampler.state()
  }

  /** The next samples. @throws ERR_FILE when an image is damaged */
  async next(count: number): Promise<LoadedBatch> {
    while (this.#queue.length < count + this.#ahead) this.#start()
    const taken = this.#queue.splice(0, count)
    const samples = await Promise.all(taken.map(({ sample }) => sample))
    this.#state = taken[taken.length - 1].state
    return { samples, epoch: this.#state.epoch }
  }

  #start(): void {
    const [index] = this.#sampler.next(1)
    const sample = this.#dataset.load(index).then((pixels) => ({ index, id: this.#dataset.id(index), pixels }))
    // Whoever takes the sample sees its error; one that nobody takes is nobody's.
    sample.catch(() => {})
    this.#queue.push({ sample, state: this.#sampler.state() })
  }

  /** The place behind the samples that were given out; what is decoded ahead does not count. */
  state(): SamplerState {
    return this.#state
  }

  /** Goes on from a saved state. @throws ERR_ARGUMENT when it is no place in this order */
  restore(state: SamplerState): void {
    const sampler = new EpochSampler({ ...this.#options, length: this.#dataset.length })
    sampler.restore(state)
    this.#sampler = sampler
    this.#queue = []
    this.#state = state
  }
}
