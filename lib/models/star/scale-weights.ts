/** How much each scale counts in the training loss. */
import { StarError } from '../../native/index.js'
import { positionsIn } from '../grid.js'
import type { Level } from './config.js'

/**
 * Part of each scale in the loss: `tokens` by its number of tokens h·w, as the reference implementation has it; `side` by their
 * root √(h·w), the side of a square; `equal`; or a weight for each scale.
 */
export type ScaleWeights = 'tokens' | 'side' | 'equal' | readonly number[]

/**
 * Shares of the scales in the loss, which sum to 1: share_k = w_k / Σ w, with w = h·w, √(h·w), 1 or as given.
 * @param levels all scales of the model
 * @throws ERR_CONFIG where the list has another length than there are scales, or no weight above 0
 */
export function scaleShares(weights: ScaleWeights, levels: readonly Level[]): number[] {
  const list = typeof weights === 'string' ? levels.map((grid) => byRule(weights, positionsIn(grid))) : weights
  if (list.length !== levels.length)
    throw new StarError(
      'ERR_CONFIG',
      `scaleWeights has ${list.length} weights, expected ${levels.length}, one for each scale of the model`,
    )
  const sum = list.reduce((total, w) => total + w, 0)
  if (!(sum > 0)) throw new StarError('ERR_CONFIG', 'scaleWeights are all 0: give at least one scale a weight above 0')
  return list.map((w) => w / sum)
}

function byRule(rule: 'tokens' | 'side' | 'equal', tokens: number): number {
  switch (rule) {
    case 'tokens':
      return tokens
    case 'side':
      return Math.sqrt(tokens)
    case 'equal':
      return 1
  }
}

/**
 * Weight of each computed token, share_k / n_k, where n_k counts the tokens of scale k that a step computes.
 * @param shares of all scales of the model
 * @param ranges where the computed tokens of each scale lie; scales that are not computed are empty
 * @returns as many weights as there are computed tokens
 */
export function tokenWeights(shares: readonly number[], ranges: readonly Level[]): Float32Array {
  const weights = new Float32Array(ranges[ranges.length - 1].end)
  ranges.forEach(({ begin, end }, k) => {
    weights.fill(shares[k] / (end - begin), begin, end)
  })
  return weights
}
