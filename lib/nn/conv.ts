import { conv2d, type Tensor } from '../tensor/index.js'
import { initialBias, initialWeight, type LayerOptions } from './init.js'
import { Module } from './module.js'

export interface Conv2dOptions extends LayerOptions {
  /** Side of the square kernel. */
  kernel: number
  stride?: number
  /** Zeros around the image: the same on all sides, or [top, left, bottom, right]. Default keeps the size at stride 1. */
  padding?: number | readonly [number, number, number, number]
}

/** Square convolution over NHWC images: x (n, h, w, inputs) → (n, h′, w′, outputs), weight (outputs, inputs, k, k), bias (outputs). */
export class Conv2d extends Module {
  readonly weight: Tensor
  readonly bias: Tensor | null
  readonly stride: number
  readonly padding: number | readonly [number, number, number, number]

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    options: Conv2dOptions,
  ) {
    super()
    const { kernel } = options
    const fanIn = inputs * kernel * kernel
    this.stride = options.stride ?? 1
    this.padding = options.padding ?? (kernel - 1) / 2
    this.weight = this.param('weight', initialWeight([outputs, inputs, kernel, kernel], fanIn, options))
    this.bias = options.bias === false ? null : this.param('bias', initialBias(outputs, fanIn, options))
  }

  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, { stride: this.stride, padding: this.padding })
  }
}
