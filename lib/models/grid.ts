/**
 * Shapes of token maps. A model's scales are given for squares, as sides p_1 … p_K; pictures of another shape have maps of h_k × w_k,
 * which this derives: one schedule of scales for each shape, as Han et al. 2024 ("Infinity", arXiv 2412.04431) have one for each
 * aspect ratio.
 */

/** Rows and columns of a token map, or of a latent. */
export interface Grid {
  rows: number
  cols: number
}

/**
 * The last scale's map of pictures of a size in pixels.
 * @param patch pixels a side of one of its tokens, of which the sides are multiples
 */
export const gridOf = ({ width, height }: { width: number; height: number }, patch: number): Grid => ({
  rows: height / patch,
  cols: width / patch,
})

export const squareGrid = (side: number): Grid => ({ rows: side, cols: side })

export const isSame = (a: Grid, b: Grid): boolean => a.rows === b.rows && a.cols === b.cols

export const positionsIn = ({ rows, cols }: Grid): number => rows * cols

/** a·b/c rounded to the nearest, halves up, in whole numbers. */
const scaled = (a: number, b: number, c: number): number => Math.floor((2 * a * b + c) / (2 * c))

/**
 * Token maps of all scales of a picture whose latent has `last.rows` × `last.cols` positions: h_1 × w_1 = p_1 × p_1, and for k > 1
 *   h_k = max(1, round(p_k·h_K/p_K)),  w_k = max(1, round(p_k·w_K/p_K)).
 * So each scale keeps the picture's aspect ratio and the last one is the latent; among shapes of one area a scale has about as many
 * tokens, as in Infinity's schedules. Of the square latent p_K × p_K they are p_k × p_k.
 * @param last default: the square p_K × p_K
 */
export function gridsOf(
  patchNums: readonly number[],
  last: Grid = squareGrid(patchNums[patchNums.length - 1]),
): Grid[] {
  const side = patchNums[patchNums.length - 1]
  return patchNums.map((p, k) => {
    // The first scale's tokens are made of the text, and have learnt positions of their own.
    if (k === 0 && patchNums.length > 1) return squareGrid(p)
    return { rows: Math.max(1, scaled(p, last.rows, side)), cols: Math.max(1, scaled(p, last.cols, side)) }
  })
}
