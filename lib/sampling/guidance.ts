/** Classifier-free guidance (Ho & Salimans 2022) whose strength rises with the scale, and several texts of one image. */
import { StarError } from '../native/index.js'
import { add, affine, concat, mul, slice, type Tensor } from '../tensor/index.js'
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

/** A row of the texts, and how much it counts beside the other texts of its image. */
export interface WeightedText {
  row: number
  /** From 0; what counts is its share of the sum. */
  weight: number
}

/** Several texts of each image: a batch holds the first text of all images, then the second of all, … */
export interface Mix {
  /** Number of texts of each image, 2 or more. */
  parts: number
  /** Their shares, which sum up to 1 for each image: f32 (parts·B, 1, 1). */
  weights: Tensor
}

/** The same rows for each text of the images and, under guidance, for the empty prompts of each: (B, …) → (B·copies, …). */
export function repeated(rows: Tensor, { guided, mix }: { guided: boolean; mix: Mix | null }): Tensor {
  const copies = (mix?.parts ?? 1) * (guided ? 2 : 1)
  return copies === 1 ? rows : concat(Array<Tensor>(copies).fill(rows), 0)
}

/**
 * Σ_j w_j·logits_j: the logits of the product of the texts' distributions, each to the power of its share (composition as of Liu et al.
 * 2022, "Compositional Visual Generation with Composable Diffusion Models", with shares that sum up to 1).
 * @param logits (parts·B, n, V) @returns (B, n, V)
 */
export function mixed(logits: Tensor, mix: Mix | null): Tensor {
  if (!mix) return logits
  const weighted = mul(logits, mix.weights)
  const images = logits.dim(0) / mix.parts
  const parts = Array.from({ length: mix.parts }, (_, j) => slice(weighted, 0, j * images, (j + 1) * images))
  return parts.reduce((sum, part) => add(sum, part))
}

/**
 * The texts of images, the first of each, then the second, …, and their shares.
 * @throws ERR_ARGUMENT where images have different numbers of texts, or weights that are no numbers from 0 or sum up to 0
 */
export function textsOf(prompts: readonly (number | readonly WeightedText[])[]): {
  rows: number[]
  parts: number
  shares: Float32Array
} {
  const lists = prompts.map((prompt) => (typeof prompt === 'number' ? [{ row: prompt, weight: 1 }] : prompt))
  const parts = lists.at(0)?.length ?? 0
  if (lists.some((list) => list.length !== parts))
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: the images have ${[...new Set(lists.map((list) => list.length))].join(' and ')} texts, expected one number for all`,
    )
  const sums = lists.map((list) => list.reduce((sum, { weight }) => sum + weight, 0))
  lists.forEach((list, i) => {
    if (list.every(({ weight }) => weight >= 0) && sums[i] > 0 && Number.isFinite(sums[i])) return
    throw new StarError(
      'ERR_ARGUMENT',
      `generate: the weights of image ${i} are ${list.map(({ weight }) => weight).join(', ')}, expected numbers from 0, not all of them 0`,
    )
  })
  const order = Array.from({ length: parts }, (_, j) => lists.map((list, i) => ({ ...list[j], sum: sums[i] }))).flat()
  return {
    rows: order.map(({ row }) => row),
    parts,
    shares: Float32Array.from(order, ({ weight, sum }) => weight / sum),
  }
}
