/** Types of the optim ops (native/binding/optim.cc) in the addon. */
import type { NativeTensor } from '../addon.js'

/** The rule is documented beside the ops in lib/tensor/ops/optim.ts. */
export interface OptimOps {
  globalNorm(tensors: readonly NativeTensor[]): NativeTensor
  /** i32 (1): 1 or 0. */
  finite(tensors: readonly NativeTensor[]): NativeTensor
  /** One step in place over all tensors. */
  adamw(
    params: readonly NativeTensor[],
    /** Of each parameter: itself, or a tensor of 16 bits that it is rounded into. */
    weights: readonly NativeTensor[],
    grads: readonly NativeTensor[],
    m: readonly NativeTensor[],
    v: readonly NativeTensor[],
    weightDecays: Float32Array,
    norm: NativeTensor | null,
    maxNorm: number,
    gradScale: number,
    lr: number,
    beta1: number,
    beta2: number,
    eps: number,
    step: number,
  ): void
}
