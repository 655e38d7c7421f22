/** Retrieval accuracy: does a generated picture lie nearest to the picture whose caption it was made from? */
import { areaPool, noGrad, scope, Tensor } from '../tensor/index.js'

export interface RetrievalResult {
  count: number
  /** Share of queries whose own picture is the nearest, and among the five nearest. */
  top1: number
  top5: number
}

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

/**
 * Ranks all reference thumbnails by squared pixel distance to each query.
 * @param queries thumbnails of generated pictures
 * @param own index of each query's own picture among the references
 */
export function retrieval(
  queries: readonly Float32Array[],
  own: readonly number[],
  references: readonly Float32Array[],
): RetrievalResult {
  let first = 0
  let five = 0
  queries.forEach((query, i) => {
    const target = distance(query, references[own[i]])
    const closer = references.reduce(
      (n, reference, r) => n + (r !== own[i] && distance(query, reference) < target ? 1 : 0),
      0,
    )
    if (closer === 0) first += 1
    if (closer < 5) five += 1
  })
  return { count: queries.length, top1: first / queries.length, top5: five / queries.length }
}

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2
  return sum
}
