/** Types of the resample ops (native/binding/resample.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

export type ResampleKind = 'nearest2x' | 'area' | 'bicubic'

/** Shapes are documented beside the ops in lib/tensor/ops/resample.ts. */
export interface ResampleOps {
  resample(x: NativeTensor, kind: ResampleKind, oh: number, ow: number): NativeTensor
  resampleBackward(dy: NativeTensor, kind: ResampleKind, h: number, w: number): NativeTensor
}
