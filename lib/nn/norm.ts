/** Normalization layers. */
import {
  add,
  div,
  full,
  groupNorm,
  layerNorm,
  matmul,
  mul,
  ones,
  sqrt,
  square,
  type Tensor,
  zeros,
} from '../tensor/index.js'
import { Module } from './module.js'

export interface NormOptions {
  eps?: number
  device?: string
}

/**
 * Group normalisation of NHWC images: statistics over space and the channels of a group, then weight·n + bias, then SiLU
 * when asked (Wu & He 2018). weight and bias (channels) start at 1 and 0.
 */
export class GroupNorm extends Module {
  readonly weight: Tensor
  readonly bias: Tensor
  readonly groups: number
  readonly eps: number
  readonly silu: boolean

  constructor(channels: number, options: NormOptions & { groups?: number; silu?: boolean } = {}) {
    super()
    this.groups = options.groups ?? 32
    this.eps = options.eps ?? 1e-6
    this.silu = options.silu ?? false
    this.weight = this.param('weight', ones([channels], { device: options.device }))
    this.bias = this.param('bias', zeros([channels], { device: options.device }))
  }

  forward(x: Tensor): Tensor {
    return groupNorm(x, this.weight, this.bias, { groups: this.groups, eps: this.eps, silu: this.silu })
  }
}

/** Layer normalisation over the last dimension, then weight·n + bias, both (channels), starting at 1 and 0. */
export class LayerNorm extends Module {
  readonly weight: Tensor
  readonly bias: Tensor
  readonly eps: number

  constructor(channels: number, options: NormOptions = {}) {
    super()
    this.eps = options.eps ?? 1e-5
    this.weight = this.param('weight', ones([channels], { device: options.device }))
    this.bias = this.param('bias', zeros([channels], { device: options.device }))
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, { scale: this.weight, shift: this.bias, affine: true, eps: this.eps })
  }
}

/**
 * Root mean square normalisation over the last dimension, without a mean and a bias: x/√(mean x² + eps)·weight
 * (Zhang & Sennrich 2019). weight (channels) starts at 1.
 */
export class RmsNorm extends Module {
  readonly weight: Tensor
  readonly eps: number

  constructor(channels: number, options: NormOptions = {}) {
    super()
    this.eps = options.eps ?? 1e-6
    this.weight = this.param('weight', ones([channels], { device: options.device }))
  }

  forward(x: Tensor): Tensor {
    const channels = x.dim(-1)
    const average = full([channels, 1], 1 / channels, { device: x.device })
    const meanSquare = matmul(square(x), average) // (…, 1)
    return mul(div(x, sqrt(add(meanSquare, this.eps))), this.weight)
  }
}
