/** Types of the conv ops (native/binding/conv.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/conv.ts. */
export interface ConvOps {
  conv2d(
    x: NativeTensor,
    weight: NativeTensor,
    bias: NativeTensor | null,
    stride: number,
    padding: readonly number[],
    groups: number,
  ): NativeTensor
  /** Gradient of the image of `h` by `w`. */
  conv2dBackwardData(
    dy: NativeTensor,
    weight: NativeTensor,
    h: number,
    w: number,
    stride: number,
    padding: readonly number[],
    groups: number,
  ): NativeTensor
  /** Gradients of weights of `kh` by `kw` and, where `bias` asks for it, of the bias. */
  conv2dBackwardWeight(
    dy: NativeTensor,
    x: NativeTensor,
    kh: number,
    kw: number,
    bias: boolean,
    stride: number,
    padding: readonly number[],
    groups: number,
  ): [NativeTensor, NativeTensor | null]
}
