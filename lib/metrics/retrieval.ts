/** Retrieval: how near does a drawn picture lie to the pictures of a data set, its own among them? */
import { areaPool, noGrad, scope, Tensor } from '../tensor/index.js'

const side = 32

/**
 * Shrinks a picture to 32×32 by area averaging.
 * @param picture (size, size, 3) bytes
 * @returns 32·32·3 values in [0, 255]
 */
export function thumbnail(picture: Uint8Array, size: number): Float32Array {
  return noGrad(() =>
    scope(() => {
      const image = Tensor.from(Float32Array.from(picture), [1, size, size, 3]) // (1, size, size, 3)
      return areaPool(image, side, side).floats()
    }),
  )
}

/** A drawn picture that is looked for. */
export interface Query {
  thumbnail: Float32Array
  /** The picture whose caption it was drawn from, if there is one, and its style. */
  own: { thumbnail: Float32Array; id: number } | null
  style: string | null
}

/** A picture of the data set. */
export interface Reference {
  id: number
  style: string | null
}

interface Standing {
  thumbnail: Float32Array
  style: string | null
  /** Id of the own picture, and its squared distance. */
  own: number | null
  target: number
  /** Pictures that are nearer than the own one: among all, and among those of the query's style. */
  nearer: number
  nearerInStyle: number
  /** The five nearest, nearest first. */
  nearest: { reference: Reference; distance: number }[]
}

/** What a query found among the pictures that were shown. */
export interface Found {
  /** Place of the own picture, from 0; null where there is none. */
  rank: number | null
  /** The same among the pictures of its style. */
  rankInStyle: number | null
  /** The five nearest pictures, nearest first. */
  nearest: readonly Reference[]
}

const kept = 5
/** Values compared before a distance is looked at. */
const piece = 256

/** Σ (a − b)², or some number above `bound` where it is larger. */
function boundedDistance(a: Float32Array, b: Float32Array, bound: number): number {
  let sum = 0
  for (let begin = 0; begin < a.length && sum <= bound; begin += piece)
    for (let i = begin, end = Math.min(a.length, begin + piece); i < end; i++) sum += (a[i] - b[i]) ** 2
  return sum
}

/**
 * Ranks of queries among pictures that are shown one by one, by squared pixel distance of thumbnails. A picture counts against
 * the own one when it is strictly nearer.
 */
export class NearestPictures {
  readonly #standings: Standing[] = []

  constructor(queries: readonly Query[] = []) {
    for (const query of queries) this.ask(query)
  }

  /** Adds a query, of whose own picture the distance is kept alone. Before the first picture is shown. */
  ask({ thumbnail, own, style }: Query): void {
    this.#standings.push({
      thumbnail,
      style,
      own: own?.id ?? null,
      target: own ? boundedDistance(thumbnail, own.thumbnail, Number.POSITIVE_INFINITY) : 0,
      nearer: 0,
      nearerInStyle: 0,
      nearest: [],
    })
  }

  /** Shows a picture to all queries. */
  show(reference: Reference, picture: Float32Array): void {
    for (const standing of this.#standings) {
      const { thumbnail, style, own, target, nearest } = standing
      const fifth = nearest.length < kept ? Number.POSITIVE_INFINITY : nearest[kept - 1].distance
      const distance = boundedDistance(thumbnail, picture, Math.max(fifth, target))
      if (own !== null && own !== reference.id && distance < target) {
        standing.nearer++
        if (reference.style === style) standing.nearerInStyle++
      }
      if (distance >= fifth) continue
      const place = nearest.findIndex((other) => distance < other.distance)
      nearest.splice(place < 0 ? nearest.length : place, 0, { reference, distance })
      nearest.length = Math.min(nearest.length, kept)
    }
  }

  /** Of each query, in order. */
  found(): Found[] {
    return this.#standings.map(({ own, nearer, nearerInStyle, nearest }) => ({
      rank: own === null ? null : nearer,
      rankInStyle: own === null ? null : nearerInStyle,
      nearest: nearest.map(({ reference }) => reference),
    }))
  }
}

/** Share of the items that pass, in [0, 1]. */
export const shareOf = <T>(items: readonly T[], passes: (item: T) => boolean): number =>
  items.filter(passes).length / items.length
