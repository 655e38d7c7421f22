/** Types of the ops on matrices in 8 bits (native/binding/int8.cc) in the addon. */
import type { NativeTensor } from '../addon.js'
import type { DType } from '../dtype.js'

/** Shapes are documented beside the ops in lib/tensor/ops/int8.ts. */
export interface Int8Ops {
  /** [q, scale] */
  quantizeRows(x: NativeTensor): [NativeTensor, NativeTensor]
  dequantizeRows(q: NativeTensor, scale: NativeTensor, dtype: DType): NativeTensor
  linearInt8(
    x: NativeTensor,
    weight: NativeTensor,
    scale: NativeTensor,
    bias: NativeTensor | null,
    gelu: boolean,
  ): NativeTensor
}
