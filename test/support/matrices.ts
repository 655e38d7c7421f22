/** Matrices in float64, for tests of optimizers: plain loops. */

export interface Matrix {
  rows: number
  cols: number
  /** Row by row. */
  values: Float64Array
}

export const matrixOf = (values: ArrayLike<number>, rows: number, cols: number): Matrix => ({
  rows,
  cols,
  values: Float64Array.from(values),
})

export const rowsOf = ({ cols, values }: Matrix, begin: number, end: number): Matrix =>
  matrixOf(values.slice(begin * cols, end * cols), end - begin, cols)

export function transposed({ rows, cols, values }: Matrix): Matrix {
  const result = matrixOf(new Float64Array(rows * cols), cols, rows)
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) result.values[j * rows + i] = values[i * cols + j]
  return result
}

export function product(a: Matrix, b: Matrix): Matrix {
  const result = matrixOf(new Float64Array(a.rows * b.cols), a.rows, b.cols)
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < b.cols; j++)
      for (let k = 0; k < a.cols; k++)
        result.values[i * b.cols + j] += a.values[i * a.cols + k] * b.values[k * b.cols + j]
  return result
}

/** X ← 3.4445·X − 4.775·(XXᵀ)X + 2.0315·(XXᵀ)²X from X = G/‖G‖, whatever the shape. */
export function newtonSchulz(g: Matrix, steps = 5): Matrix {
  const norm = Math.sqrt(g.values.reduce((sum, v) => sum + v * v, 0))
  let x: Matrix = { ...g, values: g.values.map((v) => v / norm) }
  for (let step = 0; step < steps; step++) {
    const cubed = product(product(x, transposed(x)), x)
    const fifth = product(product(x, transposed(x)), cubed)
    const from = x
    x = { ...from, values: from.values.map((v, i) => 3.4445 * v - 4.775 * cubed.values[i] + 2.0315 * fifth.values[i]) }
  }
  return x
}

/** By one-sided Jacobi rotations: columns of the taller form are turned until they are orthogonal, and have these lengths. */
export function singularValues(given: Matrix): number[] {
  const { cols, values: columns, rows } = given.rows < given.cols ? given : transposed(given)
  // Row i of `columns` is what is rotated.
  const dot = (i: number, j: number): number => {
    let sum = 0
    for (let k = 0; k < cols; k++) sum += columns[i * cols + k] * columns[j * cols + k]
    return sum
  }
  for (let sweep = 0; sweep < 30; sweep++)
    for (let i = 0; i < rows; i++)
      for (let j = i + 1; j < rows; j++) {
        const [ii, jj, ij] = [dot(i, i), dot(j, j), dot(i, j)]
        if (Math.abs(ij) < 1e-14 * Math.sqrt(ii * jj)) continue
        const zeta = (jj - ii) / (2 * ij)
        const tangent = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.hypot(1, zeta))
        const cosine = 1 / Math.hypot(1, tangent)
        for (let k = 0; k < cols; k++) {
          const [x, y] = [columns[i * cols + k], columns[j * cols + k]]
          columns[i * cols + k] = cosine * (x - tangent * y)
          columns[j * cols + k] = cosine * (tangent * x + y)
        }
      }
  return Array.from({ length: rows }, (_, i) => Math.sqrt(dot(i, i)))
}
