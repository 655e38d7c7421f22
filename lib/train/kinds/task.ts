/** What the training loop asks of a kind of training. */

import type { ModelSource } from '../../models/source.js'
import type { Module } from '../../nn/index.js'
import { cast, concat, noGrad, reshape, scope, type Tensor } from '../../tensor/index.js'
import type { ModelFolderContent, ModelPart, NamedTensors } from '../../weights/index.js'
import type { Batch } from '../data/batch.js'
import type { RecordedSample } from '../run-folder/recorder.js'

/** Numbers of one step by name (loss, accuracy, …), as logged. */
export type Metrics = Record<string, number>

/** What a micro-batch tells: read once for all of a step, when the step is on its way. */
export interface Figures {
  /** On the device, f32 (n): their mean over micro-batches and processes counts, so they are means or sums of samples. */
  values: Tensor
  /** Names that mean. */
  named(values: readonly number[]): Metrics
}

/** Scalars of the device as the values of `Figures`, (n). */
export const scalars = (tensors: readonly Tensor[]): Tensor =>
  noGrad(() =>
    scope(() =>
      concat(
        tensors.map((tensor) => reshape(cast(tensor, 'f32'), [1])),
        0,
      ),
    ),
  )

/** Weights in f32 of parts that a run does not train. */
export type FrozenParts = Partial<Record<ModelPart, NamedTensors>>

export interface Task<B extends Batch = Batch, Part = unknown> {
  /** The module whose parameters are trained and saved. */
  readonly model: Module
  /** Side in pixels of each scale of token maps. */
  readonly sides: readonly number[]
  /**
   * This process's share of the next `count` samples of all processes: of N the r-th takes [r·count/N, (r + 1)·count/N).
   * They are loaded beside training, so this waits only where loading is slower. To be called right before `split`: what
   * `state` gives in between belongs to the batch that was taken.
   */
  next(count: number): Promise<B>
  /**
   * Draws what is random about step `step`, counted from 0, and cuts the batch in `count` equal micro-batches: the draws
   * for a sample are the same whatever the count and the number of processes. They must come from the task's own Random, so
   * that a resumed run draws the same, and leave it at the same position on every process.
   */
  split(batch: B, count: number, step: number): Part[]
  /**
   * One forward on a micro-batch and one call of `backward` with its mean loss, which adds gradients to the parameters'
   * `.grad`. Draws nothing. All processes call it for their n-th micro-batch together: it may exchange data. The figures have
   * a `loss`.
   */
  forwardBackward(part: Part, step: number, backward: (loss: Tensor) => void): Figures
  /** The parameters that weight decay spares; default: biases, vectors and the embeddings of the published recipe. */
  noDecay?(name: string, shape: readonly number[]): boolean
  /** Of kinds that Muon can train: how many matrices a weight holds one below the other, 0 for what AdamW steps. */
  readonly hiddenMatrices?: (name: string) => number
  /** Runs after a step of the optimizer, on all processes together (dead-code revival, …). */
  afterStep?(step: number): void
  /** Loss and quality on held-out data with the weights in place. */
  validate?(): Promise<Metrics>
  /** Sample pictures with the weights in place: of these prompts, of held-out captions where there are none, or, of a tokenizer, of held-out images. */
  pictures(prompts: readonly string[]): Promise<RecordedSample[]>
  /**
   * Everything besides weights that a resumed run needs, the position in the data included, as JSON: the same on every process.
   * All of them call it together, as it may gather what differs between them (positions in tars).
   */
  state(): unknown
  /** Resumes from a state that any number of processes saved. */
  restore(state: unknown): void
  /** Tensors besides those of `model` that a resumed run needs, in f32 and the same on every process (a discriminator, …). */
  tensors?(): Iterable<readonly [string, Tensor]>
  /** The run begins with trained weights, which are in place now. */
  started?(): void
  /** The run takes up a training of another program at the beginning of this epoch, counted from 0. */
  beginEpoch?(epoch: number): void
  /** What the model for use says of itself (its model.json). */
  modelConfig(): ModelFolderContent['config']
  /** The parts of that model which are not trained, as far as they are at hand in f32. */
  readonly frozen: FrozenParts
  /** Where they come from; null where everything is trained. */
  readonly source: ModelSource | null
  dispose(): void
}
