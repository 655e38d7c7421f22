/**
 * Pictures that are changed, not drawn anew: a given picture becomes tokens of all scales, and each scale keeps some of them
 * (zero-shot in-painting, Tian et al. 2024, "VAR", section 5.3; variations keep whole scales).
 */
import { type Grid, gridsOf, positionsIn, squareGrid } from '../models/grid.js'
import { downsampling, latentSide, type Tokenizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { concat, noGrad, scope, Tensor } from '../tensor/index.js'
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
  const shares = areaMeans(keep, p)
  return softEdge ? shares : shares.map((share) => (1 - share >= Math.max(threshold, leastDrawn) ? 0 : 1))
}

/** Less than this is rounding. */
const leastDrawn = 1e-6

/** The drawn share of its area from which on a position is drawn: a half, or half of the most that a thin mask covers of one. */
export const drawnFrom = (keep: Float32Array, finest: number): number =>
  Math.min(0.5, areaMeans(keep, finest).reduce((most, share) => Math.max(most, 1 - share), 0) / 2)

/** Means of a square map over p×p cells of equal area: pixels that a cell's border crosses count by their part in it. */
function areaMeans(map: Float32Array, p: number): Float32Array {
  const side = Math.sqrt(map.length)
  const parts = overlaps(side, p)
  // Along rows first, (side, p), then along columns.
  const rows = new Float64Array(side * p)
  parts.forEach((pixels, j) => {
    for (const [x, width] of pixels) for (let y = 0; y < side; y++) rows[y * p + j] += map[y * side + x] * width
  })
  const sums = new Float64Array(p * p)
  parts.forEach((pixels, i) => {
    for (const [y, height] of pixels) for (let j = 0; j < p; j++) sums[i * p + j] += rows[y * p + j] * height
  })
  return Float32Array.from(sums, (sum) => sum * (p / side) ** 2)
}

/** For each of p equal parts of [0, side): the pixels in it, and how much of each. */
const overlaps = (side: number, p: number): [number, number][][] =>
  Array.from({ length: p }, (_, i) => {
    const [begin, end] = [(i * side) / p, ((i + 1) * side) / p]
    const pixels = Array.from({ length: Math.ceil(end) - Math.floor(begin) }, (_, j) => Math.floor(begin) + j)
    return pixels.map((x): [number, number] => [x, Math.min(x + 1, end) - Math.max(x, begin)])
  })

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
        if (shares.every((share) => share.every((x) => x === 0))) return null
        const known = Float32Array.from(shares.flatMap((share) => [...share]))
        return {
          tokens: concat(
            pictures.map((own) => tokens.get(own)![k]),
            0,
          ),
          known: Tensor.from(known, [pictures.length, count], { device }),
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
function tokensOfEach(
  tokenizer: Tokenizer,
  pictures: readonly GivenPicture[],
  { rows, cols }: Grid,
): Map<GivenPicture, Tensor[]> {
  const patch = downsampling(tokenizer.config)
  const [width, height] = [cols * patch, rows * patch]
  const device = tokenizer.quantizer.embedding.weight.device
  return new Map(
    [...new Set(pictures)].map((picture) => {
      const { pixels, keep } = picture
      if (
        pixels.length !== width * height * 3 ||
        (keep && (rows !== cols || !Number.isInteger(Math.sqrt(keep.length))))
      )
        throw new StarError(
          'ERR_SHAPE',
          `a given picture has ${pixels.length} bytes${keep ? ` and ${keep.length} shares` : ''}, expected ${width}×${height} pixels of 3 bytes${keep ? ', a square, and the shares of one' : ''}`,
        )
      const values = Float32Array.from(pixels, (byte) => byte / 127.5 - 1)
      return [picture, tokenizer.tokenize(Tensor.from(values, [1, height, width, 3], { device }))]
    }),
  )
}
