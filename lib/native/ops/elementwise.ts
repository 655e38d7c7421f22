import type { DType, NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/elementwise.ts. */
export interface ElementwiseOps {
  /** alpha·a + beta·b + gamma (b optional) as a new tensor. */
  affine(a: NativeTensor, b: NativeTensor | null, alpha: number, beta: number, gamma: number): NativeTensor
  /** The same, written into `y`, which may be a or b. */
  affineInto(y: NativeTensor, a: NativeTensor, b: NativeTensor | null, alpha: number, beta: number, gamma: number): void
  cast(x: NativeTensor, dtype: DType): NativeTensor
  full(shape: readonly number[], dtype: DType, device: string, value: number): NativeTensor
}
