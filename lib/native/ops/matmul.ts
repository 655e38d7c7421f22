/** Types of the matmul ops (native/binding/matmul.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/matmul.ts. */
export interface MatmulOps {
  matmul(a: NativeTensor, b: NativeTensor, transA: boolean, transB: boolean): NativeTensor
  /** The products of a batch added up: (m, n). */
  matmulSum(a: NativeTensor, b: NativeTensor, transA: boolean, transB: boolean): NativeTensor
  /** [y, the sum before the activation or null]. */
  linear(
    x: NativeTensor,
    weight: NativeTensor,
    bias: NativeTensor | null,
    gelu: boolean,
    keepSum: boolean,
  ): [NativeTensor, NativeTensor | null]
  /** dx, times gelu'(sum) where x is gelu(sum). */
  linearBackwardInput(dy: NativeTensor, weight: NativeTensor, sum: NativeTensor | null): NativeTensor
  /** [dweight, dbias or null]. */
  linearBackwardWeight(dy: NativeTensor, x: NativeTensor, withBias: boolean): [NativeTensor, NativeTensor | null]
}
