/**
 * Stochastic depth (Huang et al. 2016): while training, a sample leaves out a block's self-attention or feed-forward with a
 * chance that rises over the blocks.
 */
import { cast, mul, type Random, type Share, Tensor } from '../../tensor/index.js'
import { dropPathRates, type StarConfig } from './config.js'

/** Factor on each of a block's two branches by sample: 0 where it is left out, else 1/(1 − rate). */
export type BlockFactors = readonly [Float32Array, Float32Array]

/** Of each block; null where all branches run. */
export type DropPath = readonly (BlockFactors | null)[]

/**
 * Draws for the samples of a batch: block by block, branch by branch, sample by sample. Of a share of a batch it gives what
 * belongs to it, and leaves `random` where the whole batch does.
 */
export function drawDropPath(
  config: Pick<StarConfig, 'depth' | 'dropPath'>,
  batch: number | Share,
  random: Random,
): DropPath {
  const { total, begin, end } = typeof batch === 'number' ? { total: batch, begin: 0, end: batch } : batch
  return dropPathRates(config).map((rate) => {
    if (rate === 0) return null
    const draw = (): Float32Array => {
      random.skip(begin)
      const factors = Float32Array.from({ length: end - begin }, () => (random.next() < rate ? 0 : 1 / (1 - rate)))
      random.skip(total - end)
      return factors
    }
    return [draw(), draw()]
  })
}

/** What was drawn for samples [begin, end). */
export function sliceDropPath(drawn: DropPath, begin: number, end: number): DropPath {
  return drawn.map((factors) => factors && [factors[0].slice(begin, end), factors[1].slice(begin, end)])
}

/** A branch (B, length, C) times the factor of each sample. */
export function scaleSamples(branch: Tensor, factors: Float32Array): Tensor {
  const perSample = Tensor.from(factors, [factors.length, 1, 1], { device: branch.device })
  return mul(branch, cast(perSample, branch.dtype))
}
