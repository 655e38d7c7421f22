/** Types of the norm ops (native/binding/norm.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

type Optional = NativeTensor | null
type Three = [NativeTensor, NativeTensor, NativeTensor]

/** Shapes are documented beside the ops in lib/tensor/ops/norm.ts. */
export interface NormOps {
  /** [y, mean (rows), rstd (rows)]. */
  layerNorm(x: NativeTensor, scale: Optional, shift: Optional, affine: boolean, eps: number): Three
  /** [dx, dscale, dshift], null where not needed; dshift has the shape given. */
  layerNormBackward(
    dy: NativeTensor,
    x: NativeTensor,
    mean: NativeTensor,
    rstd: NativeTensor,
    scale: Optional,
    shiftShape: readonly number[],
    affine: boolean,
    needX: boolean,
    needScale: boolean,
    needShift: boolean,
  ): [Optional, Optional, Optional]
  /** [y, mean (n, groups), rstd (n, groups)]. */
  groupNorm(
    x: NativeTensor,
    weight: NativeTensor,
    bias: NativeTensor,
    groups: number,
    eps: number,
    silu: boolean,
  ): Three
  /** [dx, dweight, dbias], null where not needed. */
  groupNormBackward(
    dy: NativeTensor,
    x: NativeTensor,
    mean: NativeTensor,
    rstd: NativeTensor,
    weight: NativeTensor,
    bias: NativeTensor,
    groups: number,
    silu: boolean,
    needX: boolean,
    needWeight: boolean,
    needBias: boolean,
  ): [Optional, Optional, Optional]
  softmax(x: NativeTensor, scale: number): NativeTensor
  softmaxBackward(dy: NativeTensor, y: NativeTensor, scale: number): NativeTensor
}
