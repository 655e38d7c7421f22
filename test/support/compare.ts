/** Comparing tensors with plain references. */
import { createHash } from 'node:crypto'
import type { Tensor } from '../../lib/tensor/index.js'

/** ‖given − expected‖ / ‖expected‖ in double; the norm of `given` alone when `expected` is zero. */
export function relativeError(given: Tensor | ArrayLike<number>, expected: ArrayLike<number>): number {
  const values: ArrayLike<number> = 'handle' in given ? given.data() : given
  if (values.length !== expected.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let norm = 0
  for (let i = 0; i < expected.length; i++) {
    difference += (values[i] - expected[i]) ** 2
    norm += expected[i] ** 2
  }
  return Math.sqrt(difference) / (norm > 0 ? Math.sqrt(norm) : 1)
}

/** Largest |given − expected| / |expected| over the elements; NaN meets NaN, and an infinity only itself. */
export function worstRelative(given: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (given.length !== expected.length) return Number.POSITIVE_INFINITY
  let worst = 0
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(given[i], expected[i]) || given[i] === expected[i]) continue
    const error = Math.abs(given[i] - expected[i]) / Math.max(Math.abs(expected[i]), 1e-37)
    worst = Math.max(worst, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error)
  }
  return worst
}

/** SHA-256 of the bytes of each: tap takes seconds to compare some hundred thousand elements one by one. */
export const digests = (arrays: Readonly<Record<string, NodeJS.ArrayBufferView>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(arrays).map(([name, array]) => [name, createHash('sha256').update(array).digest('hex')]),
  )
