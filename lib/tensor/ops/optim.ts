/** The arithmetic of an optimizer step, over many tensors at once. Nothing here is recorded on the tape. */
import { native } from '../../native/index.js'
import { Tensor } from '../tensor.js'

/** √ Σ x² over all elements of all tensors, accumulated in float64; shape (1), stays on the device. */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  return new Tensor(native.globalNorm(tensors.map((t) => t.handle)))
}

/**
 * i32 (1) that is 1 when every element of all tensors is finite and 0 when one is infinite or NaN; stays on the device.
 * For loss scaling: a step with non-finite gradients is skipped.
 */
export function allFinite(tensors: readonly Tensor[]): Tensor {
  return new Tensor(native.finite(tensors.map((t) => t.handle)))
}

export interface AdamWStep {
  /** f32. */
  params: readonly Tensor[]
  /** What the model computes with: the parameter itself, or a tensor of 16 bits that receives its values, rounded. */
  weights: readonly Tensor[]
  /** Gradients, first and second moments: one a parameter, with as many elements. */
  grads: readonly Tensor[]
  m: readonly Tensor[]
  v: readonly Tensor[]
  /** One a parameter. */
  weightDecays: readonly number[]
  /** Global norm of the gradients as given (1); null turns clipping off. */
  norm: Tensor | null
  maxNorm: number
  /** What the gradients are multiplied by: 1 over the factor on the loss they come from. */
  gradScale: number
  lr: number
  beta1: number
  beta2: number
  eps: number
  /** t, counted from 1. */
  step: number
}

/**
 * One AdamW step in place (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019), with
 * g = grad·gradScale·min(1, maxNorm/(norm·gradScale + 1e-6)):
 *
 *     m = β1·m + (1 − β1)·g        v = β2·v + (1 − β2)·g²
 *     p = p·(1 − lr·wd) − lr · m/(1 − β1^t) / (√(v/(1 − β2^t)) + ε)
 *
 * @throws ERR_ARGUMENT for lists of different lengths, ERR_SHAPE for tensors of different sizes, ERR_DTYPE for weights of f32 that
 *   are not the parameter
 */
export function adamwStep(s: AdamWStep): void {
  const handles = (tensors: readonly Tensor[]) => tensors.map((t) => t.handle)
  native.adamw(
    handles(s.params),
    handles(s.weights),
    handles(s.grads),
    handles(s.m),
    handles(s.v),
    Float32Array.from(s.weightDecays),
    s.norm?.handle ?? null,
    s.maxNorm,
    s.gradScale,
    s.lr,
    s.beta1,
    s.beta2,
    s.eps,
    s.step,
  )
}
