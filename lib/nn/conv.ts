/** Convolution layer. */
import { conv2d, type Padding, type Tensor } from '../tensor/index.js'
import { initialBias, initialWeight, type LayerOptions } from './init.js'
import { Module } from './module.js'

export interface Conv2dOptions extends LayerOptions {
  /** Side of the square kernel. */
  kernel: number
  stride?: number
  /** Zeros around the image: the same on all sides, or [top, left, bottom, right]. Default keeps the size at stride 1. */
  padding?: Padding
  /** Groups of channels that do not see each other; `inputs` of them make it depthwise. Default 1. */
  groups?: number
}

/**
 * Square convolution over NHWC images: x (n, h, w, inputs) → (n, h′, w′, outputs), weight (outputs, inputs/groups, k, k), bias
 * (outputs).
 */
export class Conv2d extends Module {
  readonly weight: Tensor
  readonly bias: Tensor | null
  readonly stride: number
  readonly padding: Padding
  readonly groups: number

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    options: Conv2dOptions,
  ) {
    super()
    const { kernel } = options
    this.groups = options.groups ?? 1
    const fanIn = (inputs / this.groups) * kernel * kernel
    this.stride = options.stride ?? 1
    this.padding = options.padding ?? (kernel - 1) / 2
    this.weight = this.param('weight', initialWeight([outputs, inputs / this.groups, kernel, kernel], fanIn, options))
    this.bias = options.bias === false ? null : this.param('bias', initialBias(outputs, fanIn, options))
  }

  forward(x: Tensor): Tensor {
    return this.convolve(x, this.padding)
  }

  /** For layers whose padding depends on the image. */
  protected convolve(x: Tensor, padding: Padding): Tensor {
    return conv2d(x, this.weight, this.bias, { stride: this.stride, padding, groups: this.groups })
  }
}
