/** CLIP score: does a picture show what its text says? */
import type { RgbImage } from '../data/index.js'
import type { Clip } from '../models/metrics/index.js'
import { mul, noGrad, permute, scope, sumRows, Tensor } from '../tensor/index.js'
import { clipImage } from './resize.js'

const mean = [0.48145466, 0.4578275, 0.40821073] as const
const deviation = [0.26862954, 0.26130258, 0.27577711] as const

/** (side, side, 3) bytes → (v/255 − mean)/deviation of each channel. */
const normalised = ({ data }: RgbImage): Float32Array =>
  Float32Array.from(data, (byte, i) => (byte / 255 - mean[i % 3]) / deviation[i % 3])

/**
 * 100·cos of a picture's vector and its text's (Hessel et al. 2021, "CLIPScore", without its factor of 2.5; 100 as published
 * figures of text-to-image models have it). A picture is resized so that its shorter side fits, and cropped to the middle.
 * @returns the score of each pair
 */
export function clipScores(
  clip: Clip,
  images: readonly RgbImage[],
  texts: readonly string[],
  device = 'cpu',
): number[] {
  return noGrad(() =>
    scope(() => {
      const side = clip.imageSide
      const size = side * side * 3
      const batch = new Float32Array(images.length * size)
      images.forEach((image, i) => {
        batch.set(normalised(clipImage(image, side)), i * size)
      })
      const pictures = clip.imageVectors(Tensor.from(batch, [images.length, side, side, 3], { device }))
      const products = mul(pictures, clip.textVectors(texts)) // (n, D)
      return Array.from(sumRows(permute(products, [1, 0])).floats(), (cosine) => 100 * cosine)
    }),
  )
}
