/** How unlike two pictures look: distances of a classifier's features, where an error of pixels says little about sharpness. */
import { add, div, full, matmul, mse, mul, noGrad, scope, sqrt, square, type Tensor } from '../../tensor/index.js'
import type { EfficientNetLite0 } from '../backbone/index.js'
import type { PerceptualConfig } from './config.js'

/** Each pixel's vector divided by its length: x/√(Σ_c x² + 1e-10), (n, h, w, c) → the same shape. */
function unitNormalize(x: Tensor): Tensor {
  const channels = x.dim(-1)
  const sum = matmul(square(x), full([channels, 1], 1, { device: x.device })) // (n, h, w, 1)
  return div(x, sqrt(add(sum, 1e-10)))
}

/** Both terms, shape []; `logits` is null where it is not asked for. */
export interface PerceptualTerms {
  features: Tensor
  logits: Tensor | null
}

/**
 * Distance of two batches of images (n, h, w, 3) in [−1, 1], in the manner of LPIPS (Zhang et al. 2018) with weights of one: of each
 * resolution's features, normalised to unit length a pixel, the squared distance averaged over pixels, averaged over resolutions.
 * The gradient goes to `given` alone.
 */
export function perceptualTerms(
  backbone: EfficientNetLite0,
  given: Tensor,
  target: Tensor,
  options: { logits?: boolean } = {},
): PerceptualTerms {
  return scope(() => {
    const wanted = noGrad(() => {
      const features = backbone.features(target)
      return { features, logits: options.logits ? backbone.logits(features.at(-1)!) : null }
    })
    const features = backbone.features(given)
    const distances = features.map((x, i) =>
      // mse is a mean over channels as well; the squared distance is their sum.
      mul(
        mse(
          unitNormalize(x),
          noGrad(() => unitNormalize(wanted.features[i])),
        ),
        x.dim(-1) / features.length,
      ),
    )
    return {
      features: distances.reduce((a, b) => add(a, b)),
      logits: wanted.logits && mse(backbone.logits(features.at(-1)!), wanted.logits),
    }
  })
}

/** weight·features + logits·logits of `perceptualTerms`. Shape []. */
export function perceptualLoss(
  backbone: EfficientNetLite0,
  given: Tensor,
  target: Tensor,
  { weight, logits }: Pick<PerceptualConfig, 'weight' | 'logits'>,
): Tensor {
  return scope(() => {
    const terms = perceptualTerms(backbone, given, target, { logits: logits > 0 })
    const features = mul(terms.features, weight)
    return terms.logits ? add(features, mul(terms.logits, logits)) : features
  })
}
