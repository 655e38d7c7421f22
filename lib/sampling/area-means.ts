/** Maps of plain numbers at the size of a token map. */
import type { Grid } from '../models/grid.js'

/** Means of a map over cells of equal area: what a cell's border crosses counts by its part in it. */
export function areaMeans(map: Float32Array, from: Grid, to: Grid): Float32Array {
  const [h, w] = [to.rows, to.cols]
  // Along rows first, (from.rows, w), then along columns.
  const rows = new Float64Array(from.rows * w)
  overlaps(from.cols, w).forEach((part, j) => {
    for (const [x, width] of part) for (let y = 0; y < from.rows; y++) rows[y * w + j] += map[y * from.cols + x] * width
  })
  const sums = new Float64Array(h * w)
  overlaps(from.rows, h).forEach((part, i) => {
    for (const [y, height] of part) for (let j = 0; j < w; j++) sums[i * w + j] += rows[y * w + j] * height
  })
  return Float32Array.from(sums, (sum) => sum * (h / from.rows) * (w / from.cols))
}

/** For each of p equal parts of [0, side): the pixels in it, and how much of each. */
const overlaps = (side: number, p: number): [number, number][][] =>
  Array.from({ length: p }, (_, i) => {
    const [begin, end] = [(i * side) / p, ((i + 1) * side) / p]
    const pixels = Array.from({ length: Math.ceil(end) - Math.floor(begin) }, (_, j) => Math.floor(begin) + j)
    return pixels.map((x): [number, number] => [x, Math.min(x + 1, end) - Math.max(x, begin)])
  })
