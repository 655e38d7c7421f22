/** Embedding layer. */
import { embedding, type Tensor } from '../tensor/index.js'
import { initialWeight, type LayerOptions } from './init.js'
import { Module } from './module.js'

/** Rows by index: ids i32 (…) → (…, cols), weight (rows, cols). */
export class Embedding extends Module {
  readonly weight: Tensor

  constructor(
    readonly rows: number,
    readonly cols: number,
    options: Omit<LayerOptions, 'bias'>,
  ) {
    super()
    this.weight = this.param('weight', initialWeight([rows, cols], cols, options))
  }

  forward(ids: Tensor): Tensor {
    return embedding(this.weight, ids)
  }
}
