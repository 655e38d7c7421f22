/** Pixels of samples as the tokenizer takes them. */
import type { ImageCaptionDataset } from '../data/index.js'
import { Tensor } from '../tensor/index.js'

/**
 * @param mirrored which of the samples are mirrored left to right
 * @returns (B, R, R, 3) in [−1, 1]
 */
export function imageBatch(
  dataset: ImageCaptionDataset,
  samples: readonly number[],
  device: string,
  mirrored?: readonly boolean[],
): Tensor {
  const side = dataset.resolution
  const size = side * side * 3
  const values = new Float32Array(samples.length * size)
  samples.forEach((sample, b) => {
    const pixels = dataset.pixels(sample)
    const base = b * size
    if (!mirrored?.[b]) {
      for (let i = 0; i < size; i++) values[base + i] = pixels[i] / 127.5 - 1
      return
    }
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        for (let c = 0; c < 3; c++)
          values[base + (y * side + x) * 3 + c] = pixels[(y * side + side - 1 - x) * 3 + c] / 127.5 - 1
  })
  return Tensor.from(values, [samples.length, side, side, 3], { device })
}
