/** Types of the layout ops (native/binding/layout.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Any dtype; shapes are documented beside the ops in lib/tensor/ops/layout.ts. */
export interface LayoutOps {
  /** Axis i of the result is axis perm[i] of x. */
  permute(x: NativeTensor, perm: readonly number[]): NativeTensor
  concat(tensors: readonly NativeTensor[], axis: number): NativeTensor
  /** A copy of [start, end) of one axis. */
  sliceAxis(x: NativeTensor, axis: number, start: number, end: number): NativeTensor
  /** Overwrites [start, start + size of x) of one axis of y. */
  copyInto(y: NativeTensor, x: NativeTensor, axis: number, start: number): void
}
