/** Linear layer. */
import {
  add,
  cast,
  dequantizeRows,
  gelu,
  linear,
  linearInt8,
  noGrad,
  quantizeRows,
  scaleName,
  scope,
  type Tensor,
} from '../tensor/index.js'
import { initialBias, initialWeight, type LayerOptions } from './init.js'
import { copyWeight } from './int8.js'
import { type LowRank, withoutUpdates, withUpdates } from './low-rank.js'
import { Module } from './module.js'

/**
 * y = x·Wᵀ + b over the last dimension: x (…, inputs) → (…, outputs), weight (outputs, inputs), bias (outputs); and what the
 * low-rank updates add to it. With `int8` the weight is frozen and in 8 bits, as `linearInt8` takes it.
 */
export class Linear extends Module {
  readonly weight: Tensor
  /** Of an 8-bit weight, f32 (outputs); null where the weight is of a float type. */
  readonly weightScale: Tensor | null
  readonly bias: Tensor | null
  /** Low-rank updates of the weight. They belong to whoever put them here, and are none of this layer's parameters. */
  readonly updates: LowRank[] = []

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    options: LayerOptions,
  ) {
    super()
    const weight = initialWeight([outputs, inputs], inputs, options)
    if (options.int8) {
      const { q, scale } = quantizeRows(weight)
      weight.dispose()
      this.weight = this.buffer('weight', q, { single: true })
      this.weightScale = this.buffer(scaleName('weight'), scale, { single: true })
    } else {
      this.weight = this.param('weight', weight)
      this.weightScale = null
    }
    this.bias = options.bias === false ? null : this.param('bias', initialBias(outputs, inputs, options))
  }

  /** Whether it is a weight of a float type and the bias alone: no update is at work. */
  get plain(): boolean {
    return this.weightScale === null && withoutUpdates(this.updates)
  }

  /**
   * @param options.gelu applies GELU (tanh form) to the result in the same pass
   * @param options.bias takes the place of the layer's own
   */
  forward(x: Tensor, options: { gelu?: boolean; bias?: Tensor } = {}): Tensor {
    const { bias = this.bias } = options
    if (withoutUpdates(this.updates)) return this.#product(x, bias, options.gelu)
    const y = withUpdates(this.#product(x, bias), x, this.updates)
    return options.gelu ? gelu(y) : y
  }

  #product(x: Tensor, bias: Tensor | null, gelu = false): Tensor {
    const { weight, weightScale } = this
    return weightScale
      ? linearInt8(x, { q: weight, scale: weightScale }, bias, { gelu })
      : linear(x, weight, bias, { gelu })
  }

  /** Adds the updates to the weight, W ← W + Σ strength·scale·B·A, in f32 and rounded to the weight's form once; drops them. */
  mergeUpdates(): void {
    const active = this.updates.filter(({ strength }) => strength !== 0)
    this.updates.length = 0
    if (active.length === 0) return
    const { weight, weightScale } = this
    noGrad(() =>
      scope(() => {
        const before = weightScale ? dequantizeRows({ q: weight, scale: weightScale }) : cast(weight, 'f32')
        const merged = active.reduce((sum, one) => add(sum, one.product()), before)
        copyWeight({ tensor: weight, scale: weightScale ?? undefined }, { tensor: merged, scale: undefined })
      }),
    )
  }
}

/**
 * Strengths of all low-rank updates within a module, layer by layer. They are numbers of the work that layers do, not values in
 * memory: what was recorded holds them.
 */
export const updateStrengths = (module: Module): number[] =>
  [...module.modules()].flatMap(({ module: layer }) =>
    layer instanceof Linear ? layer.updates.map(({ strength }) => strength) : [],
  )
