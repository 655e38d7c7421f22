/** What the Fréchet distance needs of linear algebra in double precision: factors of covariances and sums of singular values. */

/** A row-major matrix. */
export interface Matrix {
  rows: number
  columns: number
  values: Float64Array
}

/**
 * Factor of a positive semi-definite matrix, C = LᵀL, by the Cholesky decomposition with diagonal pivoting (Higham 2002, "Accuracy
 * and Stability of Numerical Algorithms", section 10.3). Its number of rows is the numerical rank: what is left below d·ε·max C_ii
 * is rounding.
 * @param values C (d, d), row-major; not changed
 * @returns L (rank, d)
 */
export function choleskyFactor(values: Float64Array, d: number): Matrix {
  const rest = Float64Array.from({ length: d }, (_, i) => values[i * d + i])
  const floor = d * Number.EPSILON * rest.reduce((a, b) => Math.max(a, b), 0)
  const rows: Float64Array[] = []
  while (rows.length < d) {
    let pivot = 0
    for (let i = 1; i < d; i++) if (rest[i] > rest[pivot]) pivot = i
    if (!(rest[pivot] > floor)) break
    const row = values.slice(pivot * d, (pivot + 1) * d)
    let k = 0
    for (; k + 3 < rows.length; k += 4) {
      const [a, b, c, e] = [rows[k], rows[k + 1], rows[k + 2], rows[k + 3]]
      const [u, v, w, x] = [a[pivot], b[pivot], c[pivot], e[pivot]]
      for (let i = 0; i < d; i++) row[i] -= u * a[i] + v * b[i] + w * c[i] + x * e[i]
    }
    for (; k < rows.length; k++) {
      const before = rows[k]
      const factor = before[pivot]
      for (let i = 0; i < d; i++) row[i] -= factor * before[i]
    }
    const root = Math.sqrt(rest[pivot])
    for (let i = 0; i < d; i++) {
      row[i] /= root
      rest[i] -= row[i] ** 2
    }
    row[pivot] = root
    rest[pivot] = 0
    rows.push(row)
  }
  const factor = new Float64Array(rows.length * d)
  rows.forEach((row, k) => {
    factor.set(row, k * d)
  })
  return { rows: rows.length, columns: d, values: factor }
}

/** a·bᵀ: (n, d) and (m, d) → (n, m). */
export function timesTransposed(a: Matrix, b: Matrix): Matrix {
  const values = new Float64Array(a.rows * b.rows)
  const d = a.columns
  const [x, y] = [a.values, b.values]
  // Four rows of a for each reading of b.
  for (let first = 0; first < a.rows; first += 4) {
    const many = Math.min(4, a.rows - first)
    const at = [0, 1, 2, 3].map((row) => (first + Math.min(row, many - 1)) * d)
    const [at0, at1, at2, at3] = at
    for (let j = 0; j < b.rows; j++) {
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]
      for (let k = 0, start = j * d; k < d; k++) {
        const value = y[start + k]
        sum0 += x[at0 + k] * value
        sum1 += x[at1 + k] * value
        sum2 += x[at2 + k] * value
        sum3 += x[at3 + k] * value
      }
      const sums = [sum0, sum1, sum2, sum3]
      for (let row = 0; row < many; row++) values[(first + row) * b.rows + j] = sums[row]
    }
  }
  return { rows: a.rows, columns: b.rows, values }
}

const transposed = ({ rows, columns, values }: Matrix): Matrix => ({
  rows: columns,
  columns: rows,
  values: Float64Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]),
})

/** Makes x into a Householder vector v with Hx = (α, 0, …), H = I − β·v·vᵀ. */
function householder(x: Float64Array): { alpha: number; beta: number } {
  let rest = 0
  for (let i = 1; i < x.length; i++) rest += x[i] ** 2
  if (rest === 0) return { alpha: x.length > 0 ? x[0] : 0, beta: 0 }
  const alpha = x[0] > 0 ? -Math.sqrt(x[0] ** 2 + rest) : Math.sqrt(x[0] ** 2 + rest)
  x[0] -= alpha
  return { alpha, beta: 2 / (x[0] ** 2 + rest) }
}

/**
 * Brings a matrix with at least as many rows as columns to upper bidiagonal form by reflections from the left and the right
 * (Golub and Kahan 1965), which leave its singular values as they are.
 * @returns diagonal (n) and what stands above it (n − 1)
 */
function bidiagonal({ rows: m, columns: n, values }: Matrix): { diagonal: Float64Array; above: Float64Array } {
  const a = values.slice()
  const diagonal = new Float64Array(n)
  const above = new Float64Array(Math.max(0, n - 1))
  const sums = new Float64Array(n)
  for (let k = 0; k < n; k++) {
    const left = Float64Array.from({ length: m - k }, (_, i) => a[(k + i) * n + k])
    const column = householder(left)
    diagonal[k] = column.alpha
    const { beta } = column
    if (beta === 0) left.fill(0)
    // sums = vᵀA, two rows at a time
    sums.fill(0)
    let i = k
    for (; i + 1 < m; i += 2) {
      const [u, v] = [left[i - k], left[i - k + 1]]
      for (let j = k + 1, start = i * n; j < n; j++) sums[j] += u * a[start + j] + v * a[start + n + j]
    }
    if (i < m) for (let j = k + 1, start = i * n, v = left[i - k]; j < n; j++) sums[j] += v * a[start + j]
    if (k + 1 >= n) continue
    for (let j = k + 1, factor = beta * left[0]; j < n; j++) a[k * n + j] -= factor * sums[j]
    const right = a.slice(k * n + k + 1, (k + 1) * n)
    const row = householder(right)
    above[k] = row.alpha
    // Both reflections of a row while it is at hand.
    for (let i = k + 1; i < m; i++) {
      const start = i * n + k + 1
      const factor = beta * left[i - k]
      let dot = 0
      for (let j = 0; j < right.length; j++) {
        const value = a[start + j] - factor * sums[k + 1 + j]
        a[start + j] = value
        dot += value * right[j]
      }
      dot *= row.beta
      for (let j = 0; j < right.length; j++) a[start + j] -= dot * right[j]
    }
  }
  return { diagonal, above }
}

/**
 * Eigenvalues of a symmetric tridiagonal matrix by the implicit QL algorithm (Dubrulle, Martin and Wilkinson 1968), which destroys
 * its arguments.
 * @param d diagonal, where the eigenvalues are left
 * @param e beside the diagonal, e[i] between i and i + 1; of the same length as d
 */
function tridiagonalEigenvalues(d: Float64Array, e: Float64Array): void {
  const n = d.length
  for (let low = 0; low < n; low++) {
    for (;;) {
      let end = low
      while (end < n - 1 && Math.abs(e[end]) > Number.EPSILON * (Math.abs(d[end]) + Math.abs(d[end + 1]))) end++
      if (end === low) break
      const slope = (d[low + 1] - d[low]) / (2 * e[low])
      const size = Math.hypot(slope, 1)
      let g = d[end] - d[low] + e[low] / (slope + (slope >= 0 ? size : -size))
      let [sine, cosine, shift] = [1, 1, 0]
      let i = end - 1
      for (; i >= low; i--) {
        const f = sine * e[i]
        const b = cosine * e[i]
        const r = Math.hypot(f, g)
        e[i + 1] = r
        if (r === 0) {
          d[i + 1] -= shift
          e[end] = 0
          break
        }
        sine = f / r
        cosine = g / r
        g = d[i + 1] - shift
        const turned = (d[i] - g) * sine + 2 * cosine * b
        shift = sine * turned
        d[i + 1] = g + shift
        g = cosine * turned - b
      }
      if (i >= low) continue
      d[low] -= shift
      e[low] = g
      e[end] = 0
    }
  }
}

/**
 * Sum of the singular values of a matrix. Those of a bidiagonal matrix B are the positive eigenvalues of the tridiagonal matrix
 * with zeros in its diagonal and B's elements d₁ e₁ d₂ e₂ … beside it (Golub and Kahan 1965): no square is taken, so small ones
 * lose no digits to large ones.
 */
export function nuclearNorm(matrix: Matrix): number {
  const { diagonal, above } = bidiagonal(matrix.rows < matrix.columns ? transposed(matrix) : matrix)
  const n = diagonal.length
  const beside = new Float64Array(2 * n)
  diagonal.forEach((value, i) => {
    beside[2 * i] = value
  })
  above.forEach((value, i) => {
    beside[2 * i + 1] = value
  })
  const eigenvalues = new Float64Array(2 * n)
  tridiagonalEigenvalues(eigenvalues, beside)
  return eigenvalues.reduce((sum, value) => sum + Math.abs(value), 0) / 2
}
