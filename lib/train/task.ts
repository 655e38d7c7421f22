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
}

export interface Task {
  /** The module whose parameters are trained and saved. */
  readonly model: Module
  /** Training samples, for epochs and throughput. */
  readonly sampleCount: number
  /**
   * One forward and backward on these samples, leaving gradients in the parameters' `.grad`.
   * `step` counts from 0; randomness must come from the task's own Random, so that a resumed run draws the same.
   */
  forwardBackward(samples: readonly number[], step: number): Metrics
  /** Runs after the optimizer's step (dead-code revival, …). */
  afterStep?(step: number): void
  /** Loss and quality on held-out data with the weights in place. */
  validate?(): Metrics
  /** Everything besides weights that a resumed run needs, as JSON. */
  state(): unknown
  restore(state: unknown): void
  /** Writes the trained model for use, with the weights in place. */
  exportTo(folder: string): void | Promise<void>
  dispose(): void
}
