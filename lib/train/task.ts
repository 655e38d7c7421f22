/** What the training loop asks of a kind of training; tokenizer and transformer implement it. */
import type { Module } from '../nn/index.js'

/** Numbers of one step by name (loss, accuracy, …), as logged. */
export type Metrics = Record<string, number>

/** What a task is opened with. */
export interface TaskContext {
  device: string
  /** Told what is being prepared and how far it is. */
  onProgress: (what: string, done: number, total: number) => void
  signal: AbortSignal | undefined
  /** This process among those that train together, and how many they are. Default 0 of 1. */
  rank?: number
  ranks?: number
}

/** Training samples made ready, and which they are. */
export interface Batch {
  /** Names of the samples in their data set, as logged. */
  readonly ids: readonly string[]
  /** The epoch of the last of them, counted from 0. */
  readonly epoch: number
}

export interface Task<B extends Batch = Batch> {
  /** The module whose parameters are trained and saved. */
  readonly model: Module
  /** Training samples of an epoch in this process; null where only reading all of them tells. */
  readonly sampleCount: number | null
  /**
   * The next samples in order. They are loaded beside training, so this waits only where loading is slower. To be called
   * right before `forwardBackward`: what `state` gives in between belongs to the batch that was taken.
   */
  next(count: number): Promise<B>
  /**
   * One forward and backward on these samples, leaving gradients in the parameters' `.grad`.
   * `step` counts from 0; randomness must come from the task's own Random, so that a resumed run draws the same.
   */
  forwardBackward(batch: B, step: number): Metrics
  /** Runs after the optimizer's step (dead-code revival, …). */
  afterStep?(step: number): void
  /** Loss and quality on held-out data with the weights in place. */
  validate?(): Promise<Metrics>
  /** Everything besides weights that a resumed run needs, the place in the data included, as JSON. */
  state(): unknown
  restore(state: unknown): void
  /** Writes the trained model for use, with the weights in place. */
  exportTo(folder: string): void | Promise<void>
  dispose(): void
}
