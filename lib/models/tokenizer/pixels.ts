/** Pictures as bytes. */
import type { Tensor } from '../../tensor/index.js'

/** Pixels of images (B, H, W, 3) in [−1, 1]: byte = round(127.5·(x + 1)). */
export function pixelsOf(images: Tensor): Uint8Array[] {
  const [batch, height, width, channels] = images.shape
  const bytes = Uint8Array.from(images.floats(), (x) => Math.round(127.5 * (Math.min(1, Math.max(-1, x)) + 1)))
  const size = height * width * channels
  return Array.from({ length: batch }, (_, b) => bytes.slice(b * size, (b + 1) * size))
}
