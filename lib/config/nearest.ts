/** Nearest known word to a mistyped one: what error messages suggest. */

/** Number of single-character insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  // Three rolling rows of the usual dynamic program; the swap needs the row before the last.
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      row[j] = Math.min(replaced, last[j] + 1, row[j - 1] + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j], beforeLast[j - 2] + 1)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]
}

const plain = (word: string): string => word.toLowerCase().replaceAll(/[^a-z0-9]/g, '')

/**
 * The known word nearest to `given`, by edit distance without case and punctuation; the first of equals. A word that begins
 * with the given one counts as near (`lr` and `lrSchedule`). Undefined when nothing is known.
 */
export function nearest(given: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  const word = plain(given)
  for (const candidate of known) {
    const other = plain(candidate)
    const begins = word.length >= 2 && (other.startsWith(word) || word.startsWith(other))
    const distance = editDistance(word, other) - (begins ? Math.abs(word.length - other.length) / 2 : 0)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}
