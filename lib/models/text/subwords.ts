/** Models that cut a piece of text into entries of a vocabulary. */
import { StarError } from '../../native/index.js'

export interface SubwordModel {
  /** Number of ids. */
  readonly size: number
  ids(piece: string): number[]
}

interface Merge {
  rank: number
  id: number
}

/** Ids stay below 2^26, so that two of them fit a number exactly. */
const pairKey = (left: number, right: number): number => left * 2 ** 26 + right

/**
 * Byte-pair encoding (Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016): a piece starts as
 * its letters, the last one with `suffix`; the adjacent pair that was merged first in training is merged wherever it
 * stands, until no pair is in the list.
 */
export class BytePairModel implements SubwordModel {
  readonly size: number
  readonly #vocabulary: ReadonlyMap<string, number>
  readonly #merges = new Map<number, Merge>()
  readonly #unknown: number | null

  /**
   * @param merges pairs in the order of training, each as two entries or with a space between them
   * @param unknown entry for letters that are in no other; null leaves them out
   * @throws ERR_FILE when a merge speaks of an entry that is not there
   */
  constructor(
    vocabulary: Readonly<Record<string, number>>,
    merges: readonly (string | readonly [string, string])[],
    readonly suffix: string,
    unknown: string | null,
    source: string,
  ) {
    this.#vocabulary = new Map(Object.entries(vocabulary))
    this.size = [...this.#vocabulary.values()].reduce((n, id) => Math.max(n, id + 1), 0)
    const idOf = (piece: string): number => {
      const id = this.#vocabulary.get(piece)
      if (id === undefined)
        throw new StarError(
          'ERR_FILE',
          `${source}: the vocabulary has no ${JSON.stringify(piece)}, of which its merges speak; take both from the same model`,
        )
      return id
    }
    merges.forEach((merge, rank) => {
      const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge
      this.#merges.set(pairKey(idOf(left), idOf(right ?? '')), { rank, id: idOf(left + right) })
    })
    this.#unknown = unknown === null ? null : idOf(unknown)
  }

  ids(piece: string): number[] {
    const letters = [...piece]
    let ids = letters.flatMap((letter, i) => {
      const id = this.#vocabulary.get(i === letters.length - 1 ? letter + this.suffix : letter) ?? this.#unknown
      return id === null ? [] : [id]
    })
    for (let best = this.#firstMerge(ids); best; best = this.#firstMerge(ids)) {
      const merged: number[] = []
      for (let i = 0; i < ids.length; i++) {
        const fits = i + 1 < ids.length && this.#merges.get(pairKey(ids[i], ids[i + 1])) === best
        merged.push(fits ? best.id : ids[i])
        if (fits) i++
      }
      ids = merged
    }
    return ids
  }

  #firstMerge(ids: readonly number[]): Merge | null {
    let best: Merge | null = null
    for (let i = 0; i + 1 < ids.length; i++) {
      const merge = this.#merges.get(pairKey(ids[i], ids[i + 1]))
      if (merge && (!best || merge.rank < best.rank)) best = merge
    }
    return best
  }
}

/** What a character without an entry costs more than the least probable entry. */
const unknownPenalty = 10

/**
 * The sequence of entries with the largest sum of log probabilities (Kudo, "Subword Regularization", 2018), found from left
 * to right; among equals the one whose last entry is the longest. Characters that no entry covers become the unknown
 * entry, one for a run of them.
 */
export class UnigramModel implements SubwordModel {
  readonly size: number
  readonly #ids: ReadonlyMap<string, number>
  readonly #scores: Float64Array
  readonly #longest: number
  readonly #unknownScore: number

  /** @throws ERR_FILE when the unknown entry is not in the vocabulary */
  constructor(
    vocabulary: readonly (readonly [piece: string, score: number])[],
    readonly unknown: number,
    source: string,
  ) {
    this.size = vocabulary.length
    if (unknown >= this.size)
      throw new StarError(
        'ERR_FILE',
        `${source}: the unknown entry is number ${unknown} of ${this.size}; download the file again`,
      )
    this.#ids = new Map(vocabulary.map(([piece], id) => [piece, id]))
    this.#scores = Float64Array.from(vocabulary, ([, score]) => score)
    this.#longest = vocabulary.reduce((n, [piece]) => Math.max(n, piece.length), 0)
    this.#unknownScore = this.#scores.reduce((least, score) => Math.min(least, score), Infinity) - unknownPenalty
  }

  ids(piece: string): number[] {
    const length = piece.length
    const best = new Float64Array(length + 1).fill(-Infinity)
    const begins = new Int32Array(length + 1)
    const ids = new Int32Array(length + 1)
    const offer = (begin: number, end: number, id: number, score: number): void => {
      if (best[begin] + score <= best[end]) return
      best[end] = best[begin] + score
      begins[end] = begin
      ids[end] = id
    }
    best[0] = 0
    for (let begin = 0; begin < length; begin++) {
      if (best[begin] === -Infinity) continue
      const next = begin + (piece.codePointAt(begin)! > 0xffff ? 2 : 1)
      for (let end = begin + 1; end <= Math.min(length, begin + this.#longest); end++) {
        const id = this.#ids.get(piece.slice(begin, end))
        if (id !== undefined) offer(begin, end, id, this.#scores[id])
      }
      if (!this.#ids.has(piece.slice(begin, next))) offer(begin, next, this.unknown, this.#unknownScore)
    }
    const found: number[] = []
    for (let end = length; end > 0; end = begins[end])
      if (ids[end] !== this.unknown || found.at(-1) !== this.unknown) found.push(ids[end])
    return found.reverse()
  }
}
