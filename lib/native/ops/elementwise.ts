/** Types of the elementwise ops (native/binding/elementwise.cc) in the addon. */
import type { DType, NativeTensor } from '../addon.js'

export type BinaryName = 'add' | 'sub' | 'mul' | 'div'
export type UnaryName =
  | 'silu'
  | 'gelu'
  | 'geluErf'
  | 'relu'
  | 'leakyRelu'
  | 'tanh'
  | 'sigmoid'
  | 'exp'
  | 'log'
  | 'abs'
  | 'square'
  | 'sqrt'
  | 'reciprocal'
  | 'clamp'

/** Shapes are documented beside the ops in lib/tensor/ops/elementwise.ts. */
export interface ElementwiseOps {
  /** alpha·a + beta·b + gamma (b optional) as a new tensor. */
  affine(a: NativeTensor, b: NativeTensor | null, alpha: number, beta: number, gamma: number): NativeTensor
  /** The same, written into `y`, which may be a or b. */
  affineInto(y: NativeTensor, a: NativeTensor, b: NativeTensor | null, alpha: number, beta: number, gamma: number): void
  /** y[o, m, i] = a[o, m, i] op b[m]. */
  binary(a: NativeTensor, b: NativeTensor, op: BinaryName, outer: number, mid: number, inner: number): NativeTensor
  /** y = f(x); leakyRelu takes its slope in p0, clamp its bounds in p0 and p1. */
  unary(x: NativeTensor, op: UnaryName, p0: number, p1: number): NativeTensor
  /** dx = dy·f′(x). */
  unaryBackward(dy: NativeTensor, x: NativeTensor, op: UnaryName, p0: number, p1: number): NativeTensor
  cast(x: NativeTensor, dtype: DType): NativeTensor
  full(shape: readonly number[], dtype: DType, device: string, value: number): NativeTensor
}
