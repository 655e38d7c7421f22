/** Types of the ops on rows by position (native/binding/rows.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/rows.ts. */
export interface RowOps {
  rowDistances(x: NativeTensor, center: NativeTensor): NativeTensor
  topPositions(score: NativeTensor, keep: number): NativeTensor
  gatherRows(x: NativeTensor, positions: NativeTensor): NativeTensor
  /** y is changed in place. */
  scatterRows(y: NativeTensor, x: NativeTensor, positions: NativeTensor): void
}
