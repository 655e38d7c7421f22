/** Care of a codebook in training: how much each row is used, first values, and new values for rows nobody uses. */
import { nearestRow, noGrad, type Random, scope, type Tensor } from '../../tensor/index.js'

/** Weight of the past in the running count of uses. */
const DECAY = 0.98

export interface CodebookUsage {
  /** Share of rows in use at each scale. */
  scales: number[]
  /** Share of rows in use at any scale. */
  overall: number
  /** exp(entropy) of the rows over all scales: how many rows an evenly used codebook as rich as this one would have. */
  perplexity: number
}

/** Vectors that rows of a codebook may take the values of, wherever they lie. */
export interface Candidates {
  readonly count: number
  /** The vectors of these numbers, one after the other. */
  values(numbers: readonly number[]): Float32Array
}

/** The rows of (N, Z). */
function rowsOf(vectors: Tensor): Candidates {
  const [count, z] = vectors.shape
  const source = vectors.floats()
  return {
    count,
    values: (numbers) => {
      const rows = new Float32Array(numbers.length * z)
      numbers.forEach((n, i) => {
        rows.set(source.subarray(n * z, (n + 1) * z), i * z)
      })
      return rows
    },
  }
}

export class Codebook {
  /**
   * @param weight (V, Z)
   * @param hits running count of uses a step, (K, V); saved with the weights, so that training resumes exactly
   */
  constructor(
    readonly weight: Tensor,
    readonly hits: Tensor,
  ) {}

  /** Uses of each row in the token maps of one step: (K·V) counts. Sum them over processes before `record`. */
  count(indices: readonly Tensor[]): Float32Array {
    const vocab = this.weight.shape[0]
    const counts = new Float32Array(indices.length * vocab)
    indices.forEach((ids, k) => {
      for (const id of ids.ints()) counts[k * vocab + id]++
    })
    return counts
  }

  /** Adds the counts of one step to the running ones: hits ← 0.98·hits + 0.02·counts; the first step sets them. */
  record(counts: Float32Array): void {
    const hits = this.hits.floats()
    const first = hits.every((h) => h === 0)
    this.hits.write(hits.map((h, i) => (first ? counts[i] : DECAY * h + (1 - DECAY) * counts[i])))
  }

  /** How well the codebook is used. A row is in use where its running count is at least 8 % of an even share. */
  usage(): CodebookUsage {
    const [scales, vocab] = this.hits.shape
    const hits = this.hits.floats()
    const total = new Float64Array(vocab)
    const share = (row: Float64Array): number => {
      const even = row.reduce((sum, h) => sum + h, 0) / vocab
      return even === 0 ? 0 : row.reduce((n, h) => n + (h >= 0.08 * even ? 1 : 0), 0) / vocab
    }
    const perScale = Array.from({ length: scales }, (_, k) => {
      const row = Float64Array.from(hits.subarray(k * vocab, (k + 1) * vocab))
      row.forEach((h, v) => {
        total[v] += h
      })
      return share(row)
    })
    const sum = total.reduce((s, h) => s + h, 0)
    const entropy = total.reduce((e, h) => (h > 0 ? e - (h / sum) * Math.log(h / sum) : e), 0)
    return { scales: perScale, overall: share(total), perplexity: sum > 0 ? Math.exp(entropy) : 0 }
  }

  /**
   * Gives rows whose running count over all scales is below `below` the value of vectors drawn from `vectors`, and the
   * count of an even share, so that they have time to find their use.
   * @param vectors those that were matched in this step: (N, Z), or where they lie
   * @returns how many rows were replaced
   */
  revive(vectors: Tensor | Candidates, random: Random, options: { below: number }): number {
    const [scales, vocab] = this.hits.shape
    const hits = this.hits.floats()
    const even = hits.reduce((sum, h) => sum + h, 0) / vocab
    const dead: number[] = []
    for (let v = 0; v < vocab; v++) {
      let sum = 0
      for (let k = 0; k < scales; k++) sum += hits[k * vocab + v]
      if (sum < options.below) dead.push(v)
    }
    if (dead.length === 0) return 0
    this.#place(dead, 'values' in vectors ? vectors : rowsOf(vectors), random)
    for (const v of dead) for (let k = 0; k < scales; k++) hits[k * vocab + v] = even / scales
    this.hits.write(hits)
    return dead.length
  }

  /** Sets every row to a vector drawn from (N, Z), without repetition where there are enough. */
  sample(vectors: Tensor, random: Random): void {
    this.#place(
      Array.from({ length: this.weight.shape[0] }, (_, v) => v),
      rowsOf(vectors),
      random,
    )
  }

  /** k-means rounds: every row moves to the mean of the vectors (N, Z) nearest to it; rows without any are drawn anew. */
  refine(vectors: Tensor, random: Random, rounds: number): void {
    const [vocab, z] = this.weight.shape
    const values = vectors.floats()
    const candidates = rowsOf(vectors)
    for (let round = 0; round < rounds; round++) {
      const ids: Int32Array = noGrad(() => scope(() => nearestRow(vectors, this.weight).ids.ints()))
      const rows = new Float64Array(vocab * z)
      const counts = new Float64Array(vocab)
      for (let i = 0; i < ids.length; i++) {
        counts[ids[i]]++
        for (let c = 0; c < z; c++) rows[ids[i] * z + c] += values[i * z + c]
      }
      const weight = this.weight.floats()
      const empty: number[] = []
      for (let v = 0; v < vocab; v++) {
        if (counts[v] === 0) empty.push(v)
        else for (let c = 0; c < z; c++) weight[v * z + c] = rows[v * z + c] / counts[v]
      }
      this.weight.write(weight)
      this.#place(empty, candidates, random)
    }
  }

  #place(rows: readonly number[], candidates: Candidates, random: Random): void {
    const z = this.weight.shape[1]
    const order = Array.from({ length: candidates.count }, (_, i) => i)
    random.shuffle(order)
    const values = candidates.values(rows.map((_, i) => order[i % order.length]))
    const weight = this.weight.floats()
    rows.forEach((v, i) => {
      weight.set(values.subarray(i * z, (i + 1) * z), v * z)
    })
    this.weight.write(weight)
  }
}
