/** What weights lack, have too much of, or have in another shape than a model wants, as one readable line. */
import { editDistance, nearest } from '../config/nearest.js'

export interface WeightDiff {
  missing: string[]
  unexpected: string[]
  misshapen: { name: string; given: readonly number[]; expected: readonly number[] }[]
}

/** Names of one kind that are listed; the others are counted. */
const most = 8

const shape = (dims: readonly number[]): string => `(${dims.join(', ')})`

const group = (kind: string, items: readonly string[]): string[] =>
  items.length === 0
    ? []
    : [`${items.length} ${kind}: ${items.slice(0, most).join(', ')}${items.length > most ? ', …' : ''}`]

/** A name with the most similar of `others`, when that differs by a third at most: probably the same under another name. */
function withSimilar(name: string, others: readonly string[]): string {
  const near = nearest(name, others)
  return near !== undefined && 3 * editDistance(name, near) <= name.length ? `${name} (there is ${near})` : name
}

/** "2 missing: …; 1 unexpected: …; 3 of another shape: …", or an empty text where nothing differs. */
export function describeDiff({ missing, unexpected, misshapen }: WeightDiff): string {
  const listed = missing.map((name, i) => (i < most ? withSimilar(name, unexpected) : name))
  return [
    ...group('missing', listed),
    ...group('unexpected', unexpected),
    ...group(
      'of another shape',
      misshapen.map(({ name, given, expected }) => `${name} is ${shape(given)}, expected ${shape(expected)}`),
    ),
  ].join('; ')
}
