/**
 * Rates of GPUs and what of them is taken to be reached: the one place where assumptions of the clock on paper stand. They are
 * fixed before anything is optimised, and are not changed to make a time fit.
 */
import type { DType } from '../tensor/index.js'

export interface Card {
  name: string
  /** Compute capability times ten. */
  capability: number
  /** Operations a second of matrix products in 8 and 16 bits on tensor cores, without sparsity, and in f32 without TF32. */
  int8: number
  tensor: number
  single: number
  /** Bytes a second of the memory, and its size in bytes. */
  bandwidth: number
  memory: number
}

/**
 * NVIDIA A100 80GB SXM, H100 SXM and H200 SXM data sheets (2021, 2023, 2024); rates of tensor cores there are with sparsity where
 * a footnote says so, and twice these.
 */
export const cards = {
  a100: {
    name: 'A100 SXM 80 GB',
    capability: 80,
    int8: 624e12,
    tensor: 312e12,
    single: 19.5e12,
    bandwidth: 2.039e12,
    memory: 80e9,
  },
  h100: {
    name: 'H100 SXM',
    capability: 90,
    int8: 1979e12,
    tensor: 989e12,
    single: 67e12,
    bandwidth: 3.35e12,
    memory: 80e9,
  },
  h200: {
    name: 'H200 SXM',
    capability: 90,
    int8: 1979e12,
    tensor: 989e12,
    single: 67e12,
    bandwidth: 4.8e12,
    memory: 141e9,
  },
} as const satisfies Record<string, Card>

export type CardName = keyof typeof cards

/** Parts of the rates above that are reached. */
export const reached = {
  /** cuBLASLt's large products in bf16, and those of bytes for want of better: 60 to 75 % of an H100, 80 % of an A100, as published measurements of GEMMs go. */
  product: 0.65,
  /** cuDNN's implicit-GEMM convolutions. */
  convolution: 0.55,
  /** f32 products, which have no tensor cores. */
  single: 0.8,
  /**
   * Our attention: mma.m16n8k16 with cp.async, as FlashAttention-2, which its authors report at 35 to 40 % of an H100 (Shah et
   * al., "FlashAttention-3", 2024, section 1) and 60 to 70 % of an A100. Backward was fixed at 0.4
   * and 0.22 of the products that are counted, five, when it made seven: 0.56 and 0.31 of those it made, which are five now. Its
   * sums of dq, 32 KB of f32 read and written a pair of tiles of 64 queries and 128 keys, take less time than the products do.
   */
  attention: { a100: 0.6, h100: 0.35, h200: 0.35 },
  attentionBackward: { a100: 0.56, h100: 0.31, h200: 0.31 },
  /** A copy of large arrays. */
  bandwidth: 0.85,
} as const

/** Seconds from one launch to the next where a kernel has less to do: op by op, and within a recorded graph. */
export const launchSeconds = { eager: 5e-6, recorded: 1.5e-6 } as const
/** Seconds for which the device has nothing to do when the host waits for it, and gives it work again. */
export const waitSeconds = 20e-6

/** Operations a second of an op on this card. */
export function rateOf(card: CardName, op: string, dtype: DType): number {
  const { int8, tensor, single } = cards[card]
  if (dtype === 'i8') return int8 * reached.product
  if (dtype === 'f32' || op === 'nearest_row' || op === 'gumbel_mix') return single * reached.single
  if (op === 'attention') return tensor * reached.attention[card]
  if (op === 'attention_backward') return tensor * reached.attentionBackward[card]
  return tensor * (op.startsWith('conv2d') ? reached.convolution : reached.product)
}
