/** The order of samples in training: shuffled every epoch, the same on every process and for any number of them. */
import { StarError } from '../native/index.js'
import { Random } from '../tensor/index.js'

export interface SamplerOptions {
  /** Samples in the data set. */
  length: number
  /** Added to the epoch to give the seed of its shuffle. Default 0. */
  seed?: number
  /** False keeps the order of the data set. */
  shuffle?: boolean
}

export interface SamplerState {
  epoch: number
  /** Samples of the epoch that were taken, by all processes together. */
  position: number
}

/**
 * Epoch e is the permutation that `Random(seed + e)` shuffles. The epochs follow each other without end, and batches are cut
 * from this stream: of step s, counted from 0, with B samples in all, process r of N takes
 *   [s·B + r·B/N, s·B + (r + 1)·B/N),
 * so that the samples of a step do not depend on N (`Pipeline` selects them; here is the stream of all). The reference
 * implementation shuffles alike and gives every process as many samples, but assigns them otherwise: it pads an epoch with its
 * own start to a multiple of N, and process r takes the r-th contiguous part of it from end to end. A step of N processes then
 * holds samples from N distant positions, other ones for each N, and a position saved by N processes means nothing to M.
 */
export class EpochSampler {
  readonly #options: Required<SamplerOptions>
  /** Samples of an epoch. */
  readonly length: number
  #epoch = 0
  #position = 0
  #indices: Int32Array

  /** @throws ERR_ARGUMENT when the data set is empty */
  constructor(options: SamplerOptions) {
    const { length, seed = 0, shuffle = true } = options
    if (!Number.isInteger(length) || length < 1)
      throw new StarError(
        'ERR_ARGUMENT',
        `EpochSampler: the data set has ${length} samples, expected at least one: check its filters`,
      )
    this.#options = { length, seed, shuffle }
    this.length = length
    this.#indices = this.indices(0)
  }

  /** The samples of an epoch, in order. */
  indices(epoch: number): Int32Array {
    const { length, seed, shuffle } = this.#options
    const order = Int32Array.from({ length }, (_, i) => i)
    if (shuffle) new Random(seed + epoch).shuffle(order)
    return order
  }

  get epoch(): number {
    return this.#epoch
  }

  /** The next samples; a batch that reaches the end of an epoch continues in the next, so that every batch is full. */
  next(count: number): number[] {
    const batch: number[] = []
    while (batch.length < count) {
      if (this.#position === this.length) {
        this.#epoch++
        this.#position = 0
        this.#indices = this.indices(this.#epoch)
      }
      batch.push(this.#indices[this.#position++])
    }
    return batch
  }

  state(): SamplerState {
    return { epoch: this.#epoch, position: this.#position }
  }

  /** Resumes from a saved state. @throws ERR_ARGUMENT when it is no position in this order */
  restore({ epoch, position }: SamplerState): void {
    if (
      !Number.isSafeInteger(epoch) ||
      epoch < 0 ||
      !Number.isSafeInteger(position) ||
      position < 0 ||
      position > this.length
    )
      throw new StarError(
        'ERR_ARGUMENT',
        `EpochSampler: epoch ${epoch}, position ${position} is no place in epochs of ${this.length} samples: the data set changed`,
      )
    if (epoch !== this.#epoch) this.#indices = this.indices(epoch)
    this.#epoch = epoch
    this.#position = position
  }
}
