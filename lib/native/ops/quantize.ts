/** Types of the quantize ops (native/binding/quantize.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/quantize.ts. */
export interface QuantizeOps {
  embedding(table: NativeTensor, ids: NativeTensor): NativeTensor
  embeddingBackward(dy: NativeTensor, ids: NativeTensor, rows: number): NativeTensor
  /** [ids i32, distance f32] */
  nearestRow(x: NativeTensor, codebook: NativeTensor): [NativeTensor, NativeTensor]
}
