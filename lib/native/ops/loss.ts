/** Types of the loss ops (native/binding/loss.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** Shapes are documented beside the ops in lib/tensor/ops/loss.ts. */
export interface LossOps {
  /** [losses, lse, argmax i32, nll] */
  crossEntropy(
    logits: NativeTensor,
    targets: NativeTensor,
    labelSmoothing: number,
    extraClass: boolean,
  ): [NativeTensor, NativeTensor, NativeTensor, NativeTensor]
  crossEntropyBackward(
    dlosses: NativeTensor,
    logits: NativeTensor,
    lse: NativeTensor,
    targets: NativeTensor,
    labelSmoothing: number,
  ): NativeTensor
}
