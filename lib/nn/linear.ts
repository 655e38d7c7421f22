/** Linear layer. */
import { linear, type Tensor } from '../tensor/index.js'
import { initialBias, initialWeight, type LayerOptions } from './init.js'
import { Module } from './module.js'

/** y = x·Wᵀ + b over the last dimension: x (…, inputs) → (…, outputs), weight (outputs, inputs), bias (outputs). */
export class Linear extends Module {
  readonly weight: Tensor
  readonly bias: Tensor | null

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    options: LayerOptions,
  ) {
    super()
    this.weight = this.param('weight', initialWeight([outputs, inputs], inputs, options))
    this.bias = options.bias === false ? null : this.param('bias', initialBias(outputs, inputs, options))
  }

  /** @param gelu applies GELU (tanh form) to the result in the same pass */
  forward(x: Tensor, options: { gelu?: boolean } = {}): Tensor {
    return linear(x, this.weight, this.bias, options)
  }
}
