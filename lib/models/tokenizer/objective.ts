/** What training of the tokenizer minimises. It needs no network trained elsewhere. */
import { abs, add, areaPool, mae, mean, mse, mul, scope, slice, sub, type Tensor } from '../../tensor/index.js'
import type { QuantizerTraining } from './quantizer.js'
import type { Tokenizer } from './vqvae.js'

export interface ObjectiveWeights {
  /** Mean absolute error. */
  l1: number
  /** Mean squared error. */
  l2: number
  /** Error of the edges at three resolutions, see `detailLoss`. */
  detail: number
  /** Loss of the quantizer: codebook and commitment. */
  quantizer: number
}

export const defaultObjective: ObjectiveWeights = { l1: 1, l2: 1, detail: 1, quantizer: 1 }

export interface ObjectiveResult extends Omit<QuantizerTraining, 'loss' | 'fHat'> {
  /** The weighted sum, to be differentiated. */
  loss: Tensor
  /** Each term by itself, shape []. */
  terms: { l1: Tensor; l2: Tensor; detail: Tensor; quantizer: Tensor }
  /** The image before clamping, (B, H, W, 3). */
  reconstruction: Tensor
}

/** Differences of neighbours along an axis of an image. */
const differences = (x: Tensor, axis: number): Tensor => {
  const n = x.shape[axis]
  return sub(slice(x, axis, 1, n), slice(x, axis, 0, n - 1))
}

/**
 * How far the edges of two images are apart: the mean of |∂(x − y)| over both directions, at the full, half and quarter
 * resolution. An average error says little about a blurred outline; this term sees nothing else.
 */
export function detailLoss(x: Tensor, y: Tensor): Tensor {
  return scope(() => {
    let error = sub(x, y)
    let total: Tensor | null = null
    for (let level = 0; level < 3; level++) {
      if (level > 0) error = areaPool(error, error.shape[1] >> 1, error.shape[2] >> 1)
      const term = add(mean(abs(differences(error, 1))), mean(abs(differences(error, 2))))
      total = total ? add(total, term) : term
    }
    return mul(total!, 1 / 6)
  })
}

/** Peak signal-to-noise ratio in dB of images in [−1, 1] with this mean squared error. */
export const psnr = (meanSquaredError: number): number => 10 * Math.log10(4 / Math.max(meanSquaredError, 1e-12))

/** One forward of tokenizer training on images (B, H, W, 3). */
export function tokenizerObjective(
  model: Tokenizer,
  images: Tensor,
  weights: ObjectiveWeights = defaultObjective,
): ObjectiveResult {
  return scope(() => {
    const { fHat, loss: quantizer, indices, vectors } = model.quantizer.train(model.encode(images))
    const reconstruction = model.decodeRaw(fHat)
    const terms = {
      l1: mae(reconstruction, images),
      l2: mse(reconstruction, images),
      detail: detailLoss(reconstruction, images),
      quantizer,
    }
    const parts = [
      mul(terms.l1, weights.l1),
      mul(terms.l2, weights.l2),
      mul(terms.detail, weights.detail),
      mul(terms.quantizer, weights.quantizer),
    ]
    return { loss: parts.reduce((a, b) => add(a, b)), terms, reconstruction, indices, vectors }
  })
}
