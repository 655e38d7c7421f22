/** The Fréchet distance of two sets of features, which is FID where the features are Inception's. */
import { StarError } from '../native/index.js'
import { choleskyFactor, nuclearNorm, timesTransposed } from './matrices.js'
import type { FeatureStatistics } from './statistics.js'

/** The squared Fréchet distance in its two terms. */
export interface FrechetDistance {
  distance: number
  /** ‖μ₁ − μ₂‖² */
  means: number
  /** Tr(C₁ + C₂ − 2·(C₁C₂)^½) */
  covariances: number
}

const trace = (c: Float64Array, d: number): number => {
  let sum = 0
  for (let i = 0; i < d; i++) sum += c[i * d + i]
  return sum
}

/**
 * ‖μ₁ − μ₂‖² + Tr(C₁ + C₂ − 2·(C₁C₂)^½) of the Gaussians with the means and unbiased covariances of two sets (Heusel et al. 2017,
 * "GANs Trained by a Two Time-Scale Update Rule"). With C₁ = LᵀL and C₂ = KᵀK the trace of the root is the sum of the singular
 * values of L·Kᵀ, which is exact for covariances of fewer pictures than features too, where the root of the product is not.
 * @throws ERR_SHAPE for features of different sizes, ERR_ARGUMENT for fewer than two pictures
 */
export function frechetDistance(a: FeatureStatistics, b: FeatureStatistics): FrechetDistance {
  if (a.size !== b.size)
    throw new StarError(
      'ERR_SHAPE',
      `frechetDistance: the sets have ${a.size} and ${b.size} features, expected as many`,
    )
  const d = a.size
  const [ma, mb] = [a.mean(), b.mean()]
  const means = ma.reduce((sum, value, i) => sum + (value - mb[i]) ** 2, 0)
  const [ca, cb] = [a.covariance(), b.covariance()]
  const root = nuclearNorm(timesTransposed(choleskyFactor(ca, d), choleskyFactor(cb, d)))
  const covariances = trace(ca, d) + trace(cb, d) - 2 * root
  return { distance: means + covariances, means, covariances }
}
