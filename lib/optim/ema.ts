/** Exponential moving average of weights: shadow = decay·shadow + (1 − decay)·weight, with a warm-up of the decay. */
import { addInto, affine, keep, noGrad, type Tensor } from '../tensor/index.js'

interface NamedParameter {
  name: string
  tensor: Tensor
}

export class Ema {
  readonly #entries: { name: string; tensor: Tensor; shadow: Tensor }[]

  constructor(
    parameters: readonly NamedParameter[],
    readonly decay: number,
  ) {
    this.#entries = noGrad(() =>
      parameters.map(({ name, tensor }) => ({ name, tensor, shadow: keep(affine(tensor, null, 1, 0, 0)) })),
    )
  }

  /** Follows the weights after optimizer step `step` (from 1): early steps average over fewer, decay ≤ (1 + step)/(10 + step). */
  update(step: number): void {
    const decay = Math.min(this.decay, (1 + step) / (10 + step))
    for (const { tensor, shadow } of this.#entries) {
      // shadow += (1 − decay)·(weight − shadow)
      addInto(shadow, shadow, decay - 1)
      addInto(shadow, tensor, 1 - decay)
    }
  }

  /** Runs `fn` with the averaged weights in place of the trained ones, then puts those back. */
  async swapped<T>(fn: () => T | Promise<T>): Promise<T> {
    const trained = noGrad(() => this.#entries.map(({ tensor }) => keep(affine(tensor, null, 1, 0, 0))))
    this.#entries.forEach(({ tensor, shadow }) => {
      tensor.copyFrom(shadow)
    })
    try {
      return await fn()
    } finally {
      this.#entries.forEach(({ tensor }, i) => {
        tensor.copyFrom(trained[i])
        trained[i].dispose()
      })
    }
  }

  /** Tensors for a checkpoint, named as the parameters. */
  *tensors(): Generator<[string, Tensor]> {
    for (const { name, shadow } of this.#entries) yield [name, shadow]
  }

  dispose(): void {
    for (const { shadow } of this.#entries) shadow.dispose()
  }
}
