/** The order of samples in training: shuffled every epoch, the same on every process, each process with its own share. */
import { StarError } from '../native/index.js'
import { Random } from '../tensor/index.js'

export interface SamplerOptions {
  /** Samples in the data set. */
  length: number
  /** This process and how many there are. */
  rank?: number
  ranks?: number
  /** Added to the epoch to give the seed of its shuffle. Default 0. */
  seed?: number
  /** False keeps the order of the data set. */
  shuffle?: boolean
}

export interface SamplerState {
  epoch: number
  /** Samples of the epoch that this process has taken. */
  position: number
}

/**
 * Epoch e is the permutation that `Random(seed + e)` shuffles, padded by repeating its start until all `ranks` processes
 * get the same count; process r takes the r-th contiguous share. The epochs follow each other without end.
 */
export class EpochSampler {
  readonly #options: Required<SamplerOptions>
  /** Samples one process takes in an epoch: ⌈length / ranks⌉. */
  readonly share: number
  #epoch = 0
  #position = 0
  #indices: Int32Array

  /** @throws ERR_ARGUMENT when the data set is empty or the rank does not exist */
  constructor(options: SamplerOptions) {
    const { length, rank = 0, ranks = 1, seed = 0, shuffle = true } = options
    if (!Number.isInteger(length) || length < 1)
      throw new StarError(
        'ERR_ARGUMENT',
        `EpochSampler: the data set has ${length} samples, expected at least one: check its filters`,
      )
    if (!Number.isInteger(ranks) || ranks < 1 || !Number.isInteger(rank) || rank < 0 || rank >= ranks)
      throw new StarError('ERR_ARGUMENT', `EpochSampler: rank ${rank} of ${ranks} was given, expected 0 ≤ rank < ranks`)
    this.#options = { length, rank, ranks, seed, shuffle }
    this.share = Math.ceil(length / ranks)
    this.#indices = this.indices(0)
  }

  /** The samples of this process in an epoch, in order. */
  indices(epoch: number): Int32Array {
    const { length, rank, seed, shuffle } = this.#options
    const order = Int32Array.from({ length }, (_, i) => i)
    if (shuffle) new Random(seed + epoch).shuffle(order)
    return Int32Array.from({ length: this.share }, (_, i) => order[(rank * this.share + i) % length])
  }

  get epoch(): number {
    return this.#epoch
  }

  /** The next samples; a batch that reaches the end of an epoch goes on in the next, so that every batch is full. */
  next(count: number): number[] {
    const batch: number[] = []
    while (batch.length < count) {
      if (this.#position === this.share) {
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

  /** Goes on from a saved state. @throws ERR_ARGUMENT when it is no place in this order */
  restore({ epoch, position }: SamplerState): void {
    if (
      !Number.isSafeInteger(epoch) ||
      epoch < 0 ||
      !Number.isSafeInteger(position) ||
      position < 0 ||
      position > this.share
    )
      throw new StarError(
        'ERR_ARGUMENT',
        `EpochSampler: epoch ${epoch}, position ${position} is no place in epochs of ${this.share} samples: the data set or the number of processes changed`,
      )
    this.#epoch = epoch
    this.#position = position
    this.#indices = this.indices(epoch)
  }
}
