/** Classifier-free guidance (Ho & Salimans 2022) whose strength rises with the scale. */
import { affine, slice, type Tensor } from '../tensor/index.js'
import { progress } from './settings.js'

/** t = cfg·k/(K − 1). */
export const guidanceStrength = (cfg: number, k: number, scales: number): number => cfg * progress(k, scales)

/**
 * (1 + t)·cond − t·uncond.
 * @param logits (2B, …): the prompts' half, then the half of the empty prompt
 * @returns (B, …)
 */
export function guide(logits: Tensor, t: number): Tensor {
  const half = logits.dim(0) / 2
  return affine(slice(logits, 0, 0, half), slice(logits, 0, half, 2 * half), 1 + t, -t, 0)
}
