/** What training of the tokenizer minimises. By itself it needs no network trained elsewhere. */
import {
  abs,
  add,
  affine,
  areaPool,
  mae,
  mean,
  mse,
  mul,
  mulSum,
  noGrad,
  scope,
  slice,
  sub,
  type Tensor,
  valueAndGrad,
} from '../../tensor/index.js'
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

/** A further term of the loss, of reconstructions (B, H, W, 3) before clamping. */
export interface ImageTerm {
  weight: number
  /** Shape []. */
  loss(reconstruction: Tensor, images: Tensor): Tensor
}

/** An adversarial term, and how much of it counts. */
export interface AdversarialTerm {
  /** Shape []; no gradient may reach weights of the discriminator. */
  loss(reconstruction: Tensor): Tensor
  weight: number
}

export interface ObjectiveOptions {
  /** Further terms by name. */
  terms?: Readonly<Record<string, ImageTerm>>
  adversarial?: AdversarialTerm | null
  /** Encoder, quantizer and codebook are constants: latents are quantized without a loss of their own. */
  decoderOnly?: boolean
}

export interface ObjectiveResult {
  /** To be differentiated: its gradient is that of `value`, the weighted sum. Shape []. */
  loss: Tensor
  value: Tensor
  /** Each term by itself, shape []. */
  terms: Record<string, Tensor>
  /** The image before clamping, (B, H, W, 3). */
  reconstruction: Tensor
  /** Token map of each scale, i32 (B, p_k²). */
  indices: Tensor[]
  /** The vectors that were matched against the codebook (`QuantizerTraining`); null where only the decoder is trained. */
  vectors: Tensor | null
  /**
   * Squared norms of the gradients in the reconstruction, of the adversarial term and of all others but the quantizer's; null
   * without an adversarial term.
   */
  squaredNorms: { adversarial: Tensor; others: Tensor } | null
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

/** Latents of images as the decoder gets them, and what the quantizer's loss is. */
function quantized(model: Tokenizer, images: Tensor, decoderOnly: boolean) {
  if (!decoderOnly) return model.quantizer.train(model.encode(images))
  return noGrad(() => {
    const { indices, fHat } = model.quantizer.quantize(model.encode(images))
    return { fHat: fHat.at(-1)!, loss: null, indices, vectors: null }
  })
}

/**
 * One forward of tokenizer training on images (B, H, W, 3). With an adversarial term the gradients in the reconstruction are taken
 * at once, so that networks that judge it hold no memory while the tokenizer is differentiated.
 */
export function tokenizerObjective(
  model: Tokenizer,
  images: Tensor,
  weights: ObjectiveWeights = defaultObjective,
  { terms: further = {}, adversarial = null, decoderOnly = false }: ObjectiveOptions = {},
): ObjectiveResult {
  return scope(() => {
    const { fHat, loss: quantizer, indices, vectors } = quantized(model, images, decoderOnly)
    const reconstruction = model.decodeRaw(fHat)
    const imageTerms: Record<string, ImageTerm> = {
      l1: { weight: weights.l1, loss: mae },
      l2: { weight: weights.l2, loss: mse },
      detail: { weight: weights.detail, loss: detailLoss },
      ...further,
    }
    const sum = (parts: Tensor[]): Tensor => parts.reduce((a, b) => add(a, b))
    const weighted = quantizer ? [mul(quantizer, weights.quantizer)] : []
    const last: Record<string, Tensor> = quantizer ? { quantizer } : {}
    if (!adversarial) {
      const terms: Record<string, Tensor> = {}
      for (const [name, { loss }] of Object.entries(imageTerms)) terms[name] = loss(reconstruction, images)
      const loss = sum([
        ...Object.entries(terms).map(([name, term]) => mul(term, imageTerms[name].weight)),
        ...weighted,
      ])
      const squaredNorms = null
      return { loss, value: loss, terms: { ...terms, ...last }, reconstruction, indices, vectors, squaredNorms }
    }
    const others = Object.entries(imageTerms).map(([name, { weight, loss }]) => {
      const { value, grad } = valueAndGrad((given) => loss(given, images), reconstruction)
      return { name, value, weighted: mul(value, weight), grad: mul(grad, weight) }
    })
    const grad = sum(others.map((term) => term.grad))
    const deceived = valueAndGrad(adversarial.loss, reconstruction)
    // The gradient of a product with a constant is that constant.
    const onImages = mulSum(reconstruction, affine(grad, deceived.grad, 1, adversarial.weight, 0))
    return {
      loss: sum([onImages, ...weighted]),
      value: noGrad(() =>
        sum([...others.map((term) => term.weighted), mul(deceived.value, adversarial.weight), ...weighted]),
      ),
      terms: {
        ...Object.fromEntries(others.map(({ name, value }) => [name, value])),
        adversarial: deceived.value,
        ...last,
      },
      reconstruction,
      indices,
      vectors,
      squaredNorms: noGrad(() => ({
        adversarial: mulSum(deceived.grad, deceived.grad),
        others: mulSum(grad, grad),
      })),
    }
  })
}
