/**
 * Pictures that are changed, not drawn anew: a given picture becomes tokens of all scales, and each scale keeps some of them
 * (zero-shot in-painting, Tian et al. 2024, "VAR", section 5.3; variations keep whole scales).
 */
import { type Grid, gridsOf, positionsIn, squareGrid } from '../models/grid.js'
import { downsampling, latentSide, type Tokenizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { concat, noGrad, scope, Tensor } from '../tensor/index.js'
import { areaMeans } from './area-means.js'
import { disposeConditions, type ScaleConditions } from './conditions.js'

/** A picture of the size that is drawn, and what is kept of it. */
export interface GivenPicture {
  /** R, G, B bytes, row by row from the top. Where nothing is kept they should hold what fits the rest: they are encoded too. */
  pixels: Uint8Array
  /** How far each pixel is kept: from 0 (drawn) to 1 (kept), of a square that may have another size, for square pictures. Null: no pixel is. */
  keep: Float32Array | null
  /** So many of the coarsest scales are kept whole. */
  keptScales: number
  /** Code vectors at the edge are mixed by the share of their area that is kept; without, a position is kept or drawn. */
  softEdge: boolean
  /** How strongly logits are led to the picture's tokens where these are not kept. Default: not at all. */
  nudge?: Nudge
}

/** Strengths of `nudged` for a picture's tokens. */
export interface Nudge {
  /** Of each scale, from 0. */
  strengths: readonly number[]
  /**
   * Where they hold: shares m from 0 to 1 of the last scale's positions, row by row, and the strength of all scales elsewhere;
   * m·inside + (1 − m)·outside in between. A coarser scale has the means over its positions. Default: everywhere.
   */
  within?: { shares: Float32Array; outside: number }
}

/**
 * How far a p×p scale keeps its tokens, from a square map of pixels that is averaged over the area of each position. A
 * position is kept whole where more than half of it is. What is thinner than a position of the finest scale would never be drawn
 * so: `threshold` (see `drawnFrom`) is lower for it. A scale of one token has the picture as a whole, and keeps it.
 * @returns shares (p²), row by row
 */
export function keptPositions(
  keep: Float32Array,
  p: number,
  { softEdge, threshold = 0.5 }: { softEdge: boolean; threshold?: number },
): Float32Array {
  if (p === 1) return Float32Array.of(1)
  const shares = areaMeans(keep, squareGrid(Math.sqrt(keep.length)), squareGrid(p))
  return softEdge ? shares : shares.map((share) => (1 - share >= Math.max(threshold, leastDrawn) ? 0 : 1))
}

/** Less than this is rounding. */
const leastDrawn = 1e-6

/** The drawn share of its area from which on a position is drawn: a half, or half of the most that a thin mask covers of one. */
export const drawnFrom = (keep: Float32Array, finest: number): number =>
  Math.min(
    0.5,
    areaMeans(keep, squareGrid(Math.sqrt(keep.length)), squareGrid(finest)).reduce(
      (most, share) => Math.max(most, 1 - share),
      0,
    ) / 2,
  )

/** Strengths at the positions of a scale. */
function strengthsAt({ strengths, within }: Nudge, k: number, grid: Grid, last: Grid): Float32Array {
  const inside = strengths[k] ?? 0
  if (!within) return new Float32Array(positionsIn(grid)).fill(inside)
  return areaMeans(within.shares, last, grid).map((share) => share * inside + (1 - share) * within.outside)
}

/**
 * What each scale is given of the pictures, one of them for each image of a batch; one object may stand for several. Null for a
 * scale that keeps nothing. The tensors are the caller's (`disposeGiven`).
 * @param last the last scale's map; default: the square
 * @throws ERR_SHAPE for pixels or shares of another size
 */
export function conditionsOf(
  tokenizer: Tokenizer,
  pictures: readonly GivenPicture[],
  last: Grid = squareGrid(latentSide(tokenizer.config)),
): (ScaleConditions | null)[] {
  const grids = gridsOf(tokenizer.config.patchNums, last)
  const device = tokenizer.quantizer.embedding.weight.device
  return noGrad(() =>
    scope(() => {
      const tokens = tokensOfEach(tokenizer, pictures, last)
      const thresholds = new Map(pictures.map((own) => [own, own.keep ? drawnFrom(own.keep, last.rows) : 0]))
      return grids.map((grid, k) => {
        const count = positionsIn(grid)
        const shares = pictures.map((own) => {
          if (k < own.keptScales) return new Float32Array(count).fill(1)
          if (!own.keep) return new Float32Array(count)
          return keptPositions(own.keep, grid.rows, { softEdge: own.softEdge, threshold: thresholds.get(own) })
        })
        const led = pictures.some(({ nudge }) => nudge)
        if (!led && shares.every((share) => share.every((x) => x === 0))) return null
        const known = Float32Array.from(shares.flatMap((share) => [...share]))
        const shape = [pictures.length, count]
        const strengths = pictures.map(
          ({ nudge }) => (nudge && strengthsAt(nudge, k, grid, last)) ?? new Float32Array(count),
        )
        return {
          tokens: concat(
            pictures.map((own) => tokens.get(own)![k]),
            0,
          ),
          known: Tensor.from(known, shape, { device }),
          ...(led && {
            nudge: Tensor.from(Float32Array.from(strengths.flatMap((own) => [...own])), shape, { device }),
          }),
        }
      })
    }),
  )
}

/** Frees what `conditionsOf` made. */
export function disposeGiven(conditions: readonly (ScaleConditions | null)[]): void {
  for (const scale of conditions) if (scale) disposeConditions(scale)
}

/** Token maps (1, h·w) of each picture, encoded by itself, so that they do not depend on what else is in the batch. */
const tokensOfEach = (
  tokenizer: Tokenizer,
  pictures: readonly GivenPicture[],
  last: Grid,
): Map<GivenPicture, Tensor[]> =>
  new Map(
    [...new Set(pictures)].map((picture) => {
      const { keep } = picture
      if (keep && (last.rows !== last.cols || !Number.isInteger(Math.sqrt(keep.length))))
        throw new StarError(
          'ERR_SHAPE',
          `a given picture of ${last.cols}×${last.rows} positions has ${keep.length} shares, expected a square, and the shares of one`,
        )
      return [picture, tokensOf(tokenizer, picture.pixels, last)]
    }),
  )

/** Token maps (1, h·w) of a picture given as R, G, B bytes. @throws ERR_SHAPE for another number of pixels than of the map */
export function tokensOf(tokenizer: Tokenizer, pixels: Uint8Array, { rows, cols }: Grid): Tensor[] {
  const patch = downsampling(tokenizer.config)
  const [width, height] = [cols * patch, rows * patch]
  if (pixels.length !== width * height * 3)
    throw new StarError(
      'ERR_SHAPE',
      `a given picture has ${pixels.length} bytes, expected ${width}×${height} pixels of 3 bytes`,
    )
  const values = Float32Array.from(pixels, (byte) => byte / 127.5 - 1)
  const { device } = tokenizer.quantizer.embedding.weight
  return tokenizer.tokenize(Tensor.from(values, [1, height, width, 3], { device }))
}
