/** Exponential moving average of weights: shadow = decay·shadow + (1 − decay)·weight, with a warm-up of the decay. */
import { addInto, affine, keep, noGrad, type Tensor } from '../tensor/index.js'
import type { TrainedParameter } from './optimizer.js'
import { pieceName } from './piece.js'

export class Ema {
  /** Shadows are f32 and follow the masters where there are some. */
  readonly #entries: { name: string; tensor: Tensor; master: Tensor; shadow: Tensor }[]

  constructor(
    parameters: readonly TrainedParameter[],
    readonly decay: number,
  ) {
    this.#entries = parameters.map(({ name, tensor, master = tensor, piece }) => ({
      name: pieceName(name, piece),
      tensor,
      master,
      shadow: copyOf(master),
    }))
  }

  /** Follows the weights after optimizer step `step` (from 1): early steps average over fewer, decay ≤ (1 + step)/(10 + step). */
  update(step: number): void {
    const decay = Math.min(this.decay, (1 + step) / (10 + step))
    for (const { master, shadow } of this.#entries) {
      // shadow += (1 − decay)·(weight − shadow)
      addInto(shadow, shadow, decay - 1)
      addInto(shadow, master, 1 - decay)
    }
  }

  /** Runs `fn` with the averaged weights in place of the trained ones, then puts those back. */
  async swapped<T>(fn: () => T | Promise<T>): Promise<T> {
    const trained = this.#entries.map(({ tensor, master }) => (master === tensor ? copyOf(tensor) : master))
    this.#entries.forEach(({ tensor, shadow }) => {
      tensor.copyFrom(shadow)
    })
    try {
      return await fn()
    } finally {
      this.#entries.forEach(({ tensor, master }, i) => {
        tensor.copyFrom(trained[i])
        if (trained[i] !== master) trained[i].dispose()
      })
    }
  }

  /** Tensors for a checkpoint, named as the parameters or their pieces. */
  *tensors(): Generator<[string, Tensor]> {
    for (const { name, shadow } of this.#entries) yield [name, shadow]
  }

  dispose(): void {
    for (const { shadow } of this.#entries) shadow.dispose()
  }
}

const copyOf = (tensor: Tensor): Tensor => keep(noGrad(() => affine(tensor, null, 1, 0, 0)))
