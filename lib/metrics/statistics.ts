/** Mean and covariance of features that come one after another and are not kept, and their files. */
import { readFileSync } from 'node:fs'
import { fileError, writeFileAtomic } from '../native/files.js'
import { StarError } from '../native/index.js'

const mark = 'star-t2i feature statistics 1'

/**
 * Running mean and covariance of vectors. What is summed is x − x₀ with x₀ the first vector, so that large means cost no digits;
 * sums of two sets are merged as Chan, Golub and LeVeque 1979 do it.
 */
export class FeatureStatistics {
  #count = 0
  readonly #origin: Float64Array
  /** Σ (x − x₀) */
  readonly #sums: Float64Array
  /** Σ (x − x₀)(x − x₀)ᵀ, its upper triangle row by row. */
  readonly #products: Float64Array

  constructor(readonly size: number) {
    this.#origin = new Float64Array(size)
    this.#sums = new Float64Array(size)
    this.#products = new Float64Array((size * (size + 1)) / 2)
  }

  get count(): number {
    return this.#count
  }

  /** @param rows one or more vectors, one after another */
  add(rows: Float32Array | Float64Array): void {
    const { size } = this
    if (rows.length % size !== 0)
      throw new StarError('ERR_SHAPE', `statistics: ${rows.length} values were added, expected rows of ${size}`)
    const count = rows.length / size
    if (this.#count === 0) this.#origin.set(rows.subarray(0, size))
    const moved = Float64Array.from(rows, (value, i) => value - this.#origin[i % size])
    const products = this.#products
    for (let i = 0, at = 0; i < size; at += size - i, i++)
      for (let row = 0; row < count; row++) {
        const start = row * size
        const value = moved[start + i]
        this.#sums[i] += value
        for (let j = i; j < size; j++) products[at + j - i] += value * moved[start + j]
      }
    this.#count += count
  }

  /** Takes in the vectors of another set. */
  merge(other: FeatureStatistics): void {
    if (other.size !== this.size)
      throw new StarError(
        'ERR_SHAPE',
        `statistics of ${other.size} features cannot be merged with those of ${this.size}`,
      )
    if (other.#count === 0) return
    if (this.#count === 0) this.#origin.set(other.#origin)
    const { size } = this
    const n = other.#count
    const shift = other.#origin.map((value, i) => value - this.#origin[i])
    // Σ (y + s)(y + s)ᵀ = Σ yyᵀ + s·Σyᵀ + Σy·sᵀ + n·ssᵀ
    for (let i = 0, at = 0; i < size; i++)
      for (let j = i; j < size; j++, at++)
        this.#products[at] +=
          other.#products[at] + shift[i] * other.#sums[j] + other.#sums[i] * shift[j] + n * shift[i] * shift[j]
    for (let i = 0; i < size; i++) this.#sums[i] += other.#sums[i] + n * shift[i]
    this.#count += n
  }

  mean(): Float64Array {
    return this.#sums.map((sum, i) => this.#origin[i] + sum / this.#count)
  }

  /** Unbiased covariance (divided by n − 1), row-major. @throws ERR_ARGUMENT for fewer than two vectors */
  covariance(): Float64Array {
    const { size } = this
    if (this.#count < 2)
      throw new StarError(
        'ERR_ARGUMENT',
        `statistics: the covariance of ${this.#count} pictures was asked for, expected 2 or more`,
      )
    const values = new Float64Array(size * size)
    for (let i = 0, at = 0; i < size; i++)
      for (let j = i; j < size; j++, at++) {
        const value = (this.#products[at] - (this.#sums[i] * this.#sums[j]) / this.#count) / (this.#count - 1)
        values[i * size + j] = value
        values[j * size + i] = value
      }
    return values
  }

  /** Writes a file that `read` opens; `more` is anything to be kept with it. */
  write(path: string, more: unknown = null): void {
    const head = Buffer.from(JSON.stringify({ mark, size: this.size, count: this.#count, more }))
    const parts = [this.#origin, this.#sums, this.#products].map((a) =>
      Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    )
    const length = Buffer.alloc(4)
    length.writeUInt32LE(head.length)
    writeFileAtomic(path, Buffer.concat([length, head, ...parts]))
  }

  /** @throws ERR_FILE for a file that `write` has not written */
  static read(path: string): { statistics: FeatureStatistics; more: unknown } {
    let bytes: Buffer
    try {
      bytes = readFileSync(path)
    } catch (error) {
      throw fileError('read', path, error)
    }
    const damaged = (): never => {
      throw new StarError(
        'ERR_FILE',
        `${path} holds no feature statistics, or not all of them: remove it, it is made again`,
      )
    }
    if (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32LE()) damaged()
    const end = 4 + bytes.readUInt32LE()
    let head: { mark?: unknown; size?: unknown; count?: unknown; more?: unknown } = {}
    try {
      head = JSON.parse(bytes.toString('utf8', 4, end)) as typeof head
    } catch {
      damaged()
    }
    const { size, count } = head
    if (head.mark !== mark || !Number.isSafeInteger(size) || !Number.isSafeInteger(count)) damaged()
    const n = size as number
    if (n < 1 || bytes.length !== end + 8 * (2 * n + (n * (n + 1)) / 2)) damaged()
    const statistics = new FeatureStatistics(n)
    const doubles = new Float64Array(Uint8Array.from(bytes.subarray(end)).buffer)
    statistics.#count = count as number
    statistics.#origin.set(doubles.subarray(0, n))
    statistics.#sums.set(doubles.subarray(n, 2 * n))
    statistics.#products.set(doubles.subarray(2 * n))
    return { statistics, more: head.more }
  }
}
