/** Low-rank update of a linear layer (LoRA, arXiv 2106.09685). */
import { add, cast, linear, matmul, mul, type Random, type Tensor, zeros } from '../tensor/index.js'
import { initialWeight } from './init.js'
import { Module } from './module.js'

export interface LowRankOptions {
  /** r, the rank of the update. */
  rank: number
  /** Factor on the update as it was trained: α/r. */
  scale: number
  /** Source of A's first values; B begins with zeros, so that the update does. Null: zeros, for weights that are loaded. */
  init: Random | null
  device?: string
}

/**
 * Δy = strength·scale·(x·Aᵀ)·Bᵀ: what it adds to a layer with a weight (outputs, inputs), A (r, inputs), B (outputs, r). The
 * tensors have the names that PEFT gives them. x (…, inputs) → (…, outputs).
 */
export class LowRank extends Module {
  readonly a: Tensor
  readonly b: Tensor
  readonly rank: number
  readonly scale: number
  /** How strongly it is applied: 1 as trained, 0 not at all. */
  strength = 1

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    { rank, scale, init, device }: LowRankOptions,
  ) {
    super()
    this.rank = rank
    this.scale = scale
    this.a = this.param('lora_A.weight', initialWeight([rank, inputs], inputs, { init, device }))
    this.b = this.param('lora_B.weight', zeros([outputs, rank], { device }))
  }

  forward(x: Tensor): Tensor {
    const low = linear(x, this.a) // (…, r)
    return linear(mul(low, this.strength * this.scale), this.b)
  }

  /** strength·scale·B·A in f32, (outputs, inputs). */
  product(): Tensor {
    return mul(matmul(cast(this.b, 'f32'), cast(this.a, 'f32')), this.strength * this.scale)
  }
}

/** The updates that are at work. */
const active = (updates: readonly LowRank[]): LowRank[] => updates.filter(({ strength }) => strength !== 0)

/** Whether a layer with these updates is its weight alone. */
export const withoutUpdates = (updates: readonly LowRank[]): boolean => updates.every(({ strength }) => strength === 0)

/** y + Δy of each update that is at work. */
export const withUpdates = (y: Tensor, x: Tensor, updates: readonly LowRank[]): Tensor =>
  active(updates).reduce((sum, update) => add(sum, update.forward(x)), y)
