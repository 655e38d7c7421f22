/** How many tokens of a scale are fixed at each step of stable sampling. */
import { StarError } from '../native/index.js'

/**
 * The arccos schedule (Besnier and Chen, "A Pytorch Reproduction of Masked Generative Image Transformer", 2023):
 * step s of S fixes a share of the tokens proportional to arccos(1 − s/(S − 1)), rounded to the nearest even at a half and
 * at least one; the last step takes what is left.
 * @param steps S, 1 or more
 * @param tokens 0 or more
 * @returns S counts that sum to `tokens`
 * @throws ERR_ARGUMENT for other numbers
 */
export function unmaskSchedule(steps: number, tokens: number): number[] {
  if (!Number.isInteger(steps) || steps < 1 || !Number.isInteger(tokens) || tokens < 0)
    throw new StarError(
      'ERR_ARGUMENT',
      `unmaskSchedule: got ${steps} steps for ${tokens} tokens, expected whole numbers, steps from 1 and tokens from 0`,
    )
  if (steps === 1) return [tokens]
  const shares = Array.from({ length: steps }, (_, s) => Math.acos(1 - s / (steps - 1)))
  const total = shares.reduce((sum, share) => sum + share, 0)
  let left = tokens
  return shares.map((share, s) => {
    const count = s === steps - 1 ? left : Math.min(left, Math.max(1, roundHalfToEven((share / total) * tokens)))
    left -= count
    return count
  })
}

function roundHalfToEven(x: number): number {
  const down = Math.floor(x)
  return x - down > 0.5 || (x - down === 0.5 && down % 2 === 1) ? down + 1 : down
}
