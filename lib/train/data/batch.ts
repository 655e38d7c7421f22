/** Training samples made ready, and which they are. */
export interface Batch {
  /** Names of this process's samples in their data set, as logged. */
  readonly ids: readonly string[]
  /** The epoch of the last sample of the whole batch, counted from 0. */
  readonly epoch: number
}
