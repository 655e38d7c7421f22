/** Vectors of a step of tokenizer training, over all its micro-batches and processes, in the order of one whole batch. */
import { type Grid, positionsIn } from '../../../models/grid.js'
import type { Candidates } from '../../../models/tokenizer/index.js'
import { keep, scope, Tensor } from '../../../tensor/index.js'
import type { TaskContext } from '../../data/context.js'

/**
 * The vectors that were matched against the codebook: all of scale 1, sample by sample, then all of scale 2, and so on, as if
 * one process had taken the batch at once. Which of them a draw meets so depends neither on the number of processes nor on
 * that of micro-batches. They stay where they were made; those that are asked for are exchanged.
 */
export class StepVectors implements Candidates {
  readonly #tokens: readonly number[]
  readonly #context: TaskContext
  /** Of each micro-batch, (b·L, Z), scale by scale. */
  readonly #parts: Tensor[] = []

  /** @param grids the token maps of a sample */
  constructor(grids: readonly Grid[], context: TaskContext) {
    this.#tokens = grids.map(positionsIn)
    this.#context = context
  }

  /** Adds what a micro-batch of this process matched; all of them are of one size. */
  add(vectors: Tensor): void {
    this.#parts.push(keep(vectors.detach()))
  }

  /** L, tokens of a sample. */
  get #length(): number {
    return this.#tokens.reduce((sum, n) => sum + n, 0)
  }

  /** Vectors of all processes. */
  get count(): number {
    return this.#context.group.size * this.#parts.reduce((sum, part) => sum + part.dim(0), 0)
  }

  /** Where vector n lies: process, micro-batch of that process, row of that. */
  #find(n: number): { rank: number; part: number; row: number } {
    const size = this.#parts[0].dim(0) / this.#length
    const own = size * this.#parts.length
    const total = own * this.#context.group.size
    let [k, rest, before] = [0, n, 0]
    for (; rest >= total * this.#tokens[k]; k++) {
      rest -= total * this.#tokens[k]
      before += this.#tokens[k]
    }
    const sample = Math.floor(rest / this.#tokens[k])
    return {
      rank: Math.floor(sample / own),
      part: Math.floor((sample % own) / size),
      row: size * before + (sample % size) * this.#tokens[k] + (rest % this.#tokens[k]),
    }
  }

  /** The vectors of these numbers. All processes ask for the same ones together. */
  values(numbers: readonly number[]): Float32Array {
    const { group, device } = this.#context
    const z = this.#parts[0].dim(1)
    const sources = this.#parts.map((part) => part.floats())
    const values = new Float32Array(numbers.length * z)
    numbers.forEach((n, i) => {
      const { rank, part, row } = this.#find(n)
      if (rank === group.rank) values.set(sources[part].subarray(row * z, (row + 1) * z), i * z)
    })
    if (group.size === 1 || numbers.length === 0) return values
    // Each vector is on one process, all others have zeros: the sum is exact.
    return scope(() => {
      const all = Tensor.from(values, [numbers.length, z], { device })
      group.allReduce(all).wait()
      return all.floats()
    })
  }

  dispose(): void {
    for (const part of this.#parts.splice(0)) part.dispose()
  }
}
