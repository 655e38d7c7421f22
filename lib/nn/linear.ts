/** Linear layer. */
import { add, cast, gelu, linear, noGrad, scope, type Tensor } from '../tensor/index.js'
import { initialBias, initialWeight, type LayerOptions } from './init.js'
import { type LowRank, withoutUpdates, withUpdates } from './low-rank.js'
import { Module } from './module.js'

/**
 * y = x·Wᵀ + b over the last dimension: x (…, inputs) → (…, outputs), weight (outputs, inputs), bias (outputs); and what the
 * low-rank updates add to it.
 */
export class Linear extends Module {
  readonly weight: Tensor
  readonly bias: Tensor | null
  /** Low-rank updates of the weight. They belong to whoever put them here, and are none of this layer's parameters. */
  readonly updates: LowRank[] = []

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    options: LayerOptions,
  ) {
    super()
    this.weight = this.param('weight', initialWeight([outputs, inputs], inputs, options))
    this.bias = options.bias === false ? null : this.param('bias', initialBias(outputs, inputs, options))
  }

  /** Whether it is its weight and bias alone: no update is at work. */
  get plain(): boolean {
    return withoutUpdates(this.updates)
  }

  /**
   * @param options.gelu applies GELU (tanh form) to the result in the same pass
   * @param options.bias takes the place of the layer's own
   */
  forward(x: Tensor, options: { gelu?: boolean; bias?: Tensor } = {}): Tensor {
    const { bias = this.bias } = options
    if (this.plain) return linear(x, this.weight, bias, { gelu: options.gelu })
    const y = withUpdates(linear(x, this.weight, bias), x, this.updates)
    return options.gelu ? gelu(y) : y
  }

  /** Adds the updates to the weight, W ← W + Σ strength·scale·B·A, in f32 and rounded to the weight's type once; drops them. */
  mergeUpdates(): void {
    const active = this.updates.filter(({ strength }) => strength !== 0)
    this.updates.length = 0
    if (active.length === 0) return
    const { weight } = this
    noGrad(() =>
      scope(() => weight.copyFrom(active.reduce((sum, one) => add(sum, one.product()), cast(weight, 'f32')))),
    )
  }
}
