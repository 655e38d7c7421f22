/**
 * Axial rotary positions, normalised per scale (STAR, section 3.3): in an h×w map the token at (row, col) has coordinates
 * x = col/(w−1)·norm and y = row/(h−1)·norm, so that the borders of all scales coincide.
 */
import { Tensor } from '../../tensor/index.js'
import { type Grid, gridsOf } from '../grid.js'

const f32 = Math.fround

export interface RopeOptions {
  /** Channels of a head, a multiple of 4. */
  headSize: number
  theta: number
  norm: number
}

/**
 * Angles of one h×w scale in float32: (h·w, headSize/2) row-major. The first headSize/4 of a row are x·θ^(−j/D), the rest
 * y·θ^(−j/D), with j = 0, 4, 8, … < D.
 */
export function ropeAngles({ rows, cols }: Grid, { headSize, theta, norm }: RopeOptions): Float32Array {
  const quarter = headSize / 4
  const frequencies = Float32Array.from({ length: quarter }, (_, i) => 1 / f32(theta ** f32((4 * i) / headSize)))
  const coordinates = (count: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => (count === 1 ? 0 : f32(f32(i / (count - 1)) * norm)))
  const [x, y] = [coordinates(cols), coordinates(rows)]
  const angles = new Float32Array(rows * cols * 2 * quarter)
  for (let row = 0, at = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      for (let i = 0; i < quarter; i++) angles[at++] = x[col] * frequencies[i]
      for (let i = 0; i < quarter; i++) angles[at++] = y[row] * frequencies[i]
    }
  }
  return angles
}

/**
 * (cos, sin) of every token of all scales: (L, headSize/2, 2), the table the attention ops rotate by.
 * @param last the last scale's map; default: the square of the last of patchNums
 */
export function ropeTable(patchNums: readonly number[], options: RopeOptions, device?: string, last?: Grid): Tensor {
  const tables = gridsOf(patchNums, last).map((grid) => ropeAngles(grid, options))
  const count = tables.reduce((n, t) => n + t.length, 0)
  const values = new Float32Array(2 * count)
  let at = 0
  for (const table of tables) {
    for (const angle of table) {
      values[at++] = Math.cos(angle)
      values[at++] = Math.sin(angle)
    }
  }
  return Tensor.from(values, [count / (options.headSize / 2), options.headSize / 2, 2], { device })
}
