/**
 * The weights of a run in f32, whatever the precision it computes in: those of the model itself, or masters of its 16-bit
 * tensors; where the optimizer is sharded, masters of this process's pieces of them.
 */
import { copyWeight, type Module } from '../../nn/index.js'
import { pieceName, type TrainedParameter } from '../../optim/index.js'
import { scaleName, type Tensor } from '../../tensor/index.js'
import type { Precision } from '../config/precision.js'

export class TrainedWeights {
  readonly #masters: Map<string, Tensor>
  #pieces: readonly TrainedParameter[] | null = null

  /** From now on the model computes in `precision`. */
  constructor(
    readonly model: Module,
    precision: Precision,
  ) {
    this.#masters = precision === 'f32' ? new Map() : model.toHalf(precision)
  }

  /** What an optimizer steps: all but what is frozen. */
  parameters(): TrainedParameter[] {
    return [...this.model.namedTensors()]
      .filter(({ trainable, tensor }) => trainable && tensor.requiresGrad)
      .map(({ name, tensor }) => ({ name, tensor, master: this.#masters.get(name) }))
  }

  /** From now on f32 values of trained parameters are kept of these pieces alone, which have masters of their own. */
  shard(pieces: readonly TrainedParameter[]): void {
    this.#pieces = pieces
    for (const { name } of this.parameters()) {
      this.#masters.get(name)?.dispose()
      this.#masters.delete(name)
    }
  }

  get sharded(): boolean {
    return this.#pieces !== null
  }

  /** All weights and buffers by the model's names, in f32; sharded, the trained ones as the model computes with them. */
  *namedTensors(): Generator<{ name: string; tensor: Tensor }> {
    for (const { name, tensor } of this.model.namedTensors()) yield { name, tensor: this.#masters.get(name) ?? tensor }
  }

  /** What a checkpoint holds of this process, in f32. @param first whether of tensors that are not in pieces as well */
  *stored(first: boolean): Generator<[string, Tensor]> {
    for (const { name, tensor, trainable } of this.model.namedTensors())
      if (!this.#pieces || (!(trainable && tensor.requiresGrad) && first))
        yield [name, this.#masters.get(name) ?? tensor]
    for (const { name, tensor, master = tensor, piece } of this.#pieces ?? []) yield [pieceName(name, piece), master]
  }

  /** The f32 values that a checkpoint's weights go to besides the model's own tensors. */
  *masters(): Generator<[string, Tensor]> {
    yield* this.#masters
    for (const { name, master, piece } of this.#pieces ?? []) if (master) yield [pieceName(name, piece), master]
  }

  /** Takes weights over. @throws ERR_SHAPE as `Module.load` */
  load(weights: ReadonlyMap<string, Tensor>, options: { ignore?: RegExp } = {}): void {
    this.model.load(weights, options)
    for (const [name, master] of this.#masters) {
      const given = weights.get(name)
      if (given?.shape.join() !== master.shape.join()) continue
      const scale = given.dtype === 'i8' ? weights.get(scaleName(name)) : undefined
      copyWeight({ tensor: master, scale: undefined }, { tensor: given, scale })
    }
  }

  dispose(): void {
    for (const master of this.#masters.values()) master.dispose()
  }
}
