/** Pictures as bytes. */
import type { Tensor } from '../../tensor/index.js'

export const pixelRules = ['round', 'truncate'] as const
export type PixelRule = (typeof pixelRules)[number]

const { fround } = Math
const clamp = (x: number): number => Math.min(1, Math.max(-1, x))
const rules: Readonly<Record<PixelRule, (x: number) => number>> = {
  round: (x) => Math.round(127.5 * (clamp(x) + 1)),
  // The reference implementation computes 255·(0.5·(x + 1)) in float32 and drops the fraction.
  truncate: (x) => Math.trunc(fround(255 * fround(0.5 * fround(clamp(x) + 1)))),
}

/** Pixels of images (B, H, W, 3) in [−1, 1]: byte = 127.5·(x + 1), rounded or truncated. */
export function pixelsOf(images: Tensor, rule: PixelRule = 'round'): Uint8Array[] {
  const [batch, height, width, channels] = images.shape
  const bytes = Uint8Array.from(images.floats(), rules[rule])
  const size = height * width * channels
  return Array.from({ length: batch }, (_, b) => bytes.slice(b * size, (b + 1) * size))
}
