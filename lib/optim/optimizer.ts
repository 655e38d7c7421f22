/** What a training loop, checkpoints and starts know of an optimizer. */
import { StarError } from '../native/index.js'
import type { Tensor } from '../tensor/index.js'
import type { Piece } from './piece.js'

/** A weight that is trained. */
export interface TrainedParameter {
  name: string
  /** What the model computes with, and what holds the gradient. */
  tensor: Tensor
  /** Its f32 values, where the tensor has 16 bits: they take the steps, and the tensor follows them, rounded. */
  master?: Tensor
  /** Set where the tensors are a piece of the parameter. */
  piece?: Piece
}

export interface StepOptions {
  lr: number
  weightDecay: number
  /** What the loss was multiplied by before backward. Default 1. */
  lossScale?: number
}

export interface Optimizer {
  /**
   * One step on the gradients in `.grad`, which may be those of a loss times `lossScale`; a parameter without one is left as
   * it is.
   * @returns the global norm of the gradients of the loss itself before clipping
   */
  step(options: StepOptions): { gradNorm: number }
  /** Its tensors for a checkpoint, named after parameters, of a piece with its elements at the end. */
  tensors(): Iterable<[string, Tensor]>
  state(): { step: number }
  /** Takes up tensors and step of a checkpoint. @throws ERR_SHAPE when a tensor is missing or has another shape */
  load(tensors: ReadonlyMap<string, Tensor>, state: { step: number }): void
  /** Takes up the step of a checkpoint whose tensors are in place. */
  resume(state: { step: number }): void
  dispose(): void
}

/** Copies what a checkpoint holds to the tensors of an optimizer. @throws ERR_SHAPE when one is missing or has another shape */
export function copyState(own: Iterable<[string, Tensor]>, given: ReadonlyMap<string, Tensor>): void {
  for (const [name, tensor] of own) {
    const stored = given.get(name)
    if (stored?.shape.join() !== tensor.shape.join())
      throw new StarError(
        'ERR_SHAPE',
        `the optimizer state ${name} ${stored ? `has shape (${stored.shape.join(', ')})` : 'is missing'}, expected (${tensor.shape.join(', ')}): the checkpoint belongs to another model or another optimizer.kind`,
      )
    tensor.copyFrom(stored)
  }
}
