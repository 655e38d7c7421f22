/**
 * The weights of a run in f32, whatever the precision it computes in: those of the model itself, or masters of its 16-bit
 * tensors.
 */
import type { HalfType, Module } from '../nn/index.js'
import type { TrainedParameter } from '../optim/index.js'
import type { Tensor } from '../tensor/index.js'

export type Precision = 'f32' | HalfType

export class TrainedWeights {
  readonly #masters: ReadonlyMap<string, Tensor>

  /** From now on the model computes in `precision`. */
  constructor(
    readonly model: Module,
    precision: Precision,
  ) {
    this.#masters = precision === 'f32' ? new Map() : model.toHalf(precision)
  }

  /** What an optimizer steps. */
  parameters(): TrainedParameter[] {
    return [...this.model.namedTensors()]
      .filter(({ trainable }) => trainable)
      .map(({ name, tensor }) => ({ name, tensor, master: this.#masters.get(name) }))
  }

  /** All weights and buffers in f32, by the model's names. */
  *namedTensors(): Generator<{ name: string; tensor: Tensor }> {
    for (const { name, tensor } of this.model.namedTensors()) yield { name, tensor: this.#masters.get(name) ?? tensor }
  }

  /** Takes weights over. @throws ERR_SHAPE as `Module.load` */
  load(weights: ReadonlyMap<string, Tensor>): void {
    this.model.load(weights)
    for (const [name, master] of this.#masters) master.copyFrom(weights.get(name)!)
  }

  dispose(): void {
    for (const master of this.#masters.values()) master.dispose()
  }
}
