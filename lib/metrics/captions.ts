/** Figures of pictures that were drawn from captions, words, and pairs of thing and style that training has not seen. */
import type { PackRecord } from './pack-pictures.js'
import { type Found, shareOf } from './retrieval.js'

/** Shares in [0, 1] of `count` pictures. */
export interface RetrievalFigures {
  count: number
  /** The caption's own picture is nearer than all others, and than all but four. */
  top1: number
  top5: number
}

export interface StyleFigures extends RetrievalFigures {
  /** The nearest picture of all is in the style that was asked for. */
  style: number
}

export interface CaptionFigures {
  /** Among all pictures of the pack. */
  retrieval: RetrievalFigures
  /** Among the pictures of the caption's style: of all captions, and by style. Null for a pack without styles. */
  inStyle: StyleFigures | null
  byStyle: Record<string, StyleFigures>
  /** Words that are tags of at most five things: one of these is among the five nearest. Null for a pack without such. */
  words: { count: number; top1: number; top5: number } | null
  /** Held-out pairs: the right thing, in any style, is nearest or among the five nearest; the nearest has the right style. */
  composition: { count: number; concept1: number; concept5: number; style: number } | null
}

/** Things that a word may be a tag of at most. */
const mostConcepts = 5

const conceptsByTag = (records: readonly PackRecord[]): Map<string, Set<string>> => {
  const concepts = new Map<string, Set<string>>()
  for (const { tags, concept } of records)
    if (concept !== null) for (const tag of tags) concepts.set(tag, (concepts.get(tag) ?? new Set()).add(concept))
  return concepts
}

/** Words that are tags of one to five things and were seen in training, in the order of the alphabet. */
export function rareWords(records: readonly PackRecord[]): string[] {
  const all = conceptsByTag(records)
  const seen = conceptsByTag(records.filter(({ split }) => split === 'train'))
  return [...seen.keys()].filter((tag) => all.get(tag)!.size <= mostConcepts).sort()
}

const within = (rank: number | null, places: number): boolean => rank !== null && rank < places

interface Asked {
  found: Found
  record: PackRecord
}

const ranked = (asked: readonly Asked[], rank: (found: Found) => number | null): RetrievalFigures => ({
  count: asked.length,
  top1: shareOf(asked, ({ found }) => within(rank(found), 1)),
  top5: shareOf(asked, ({ found }) => within(rank(found), 5)),
})

const styled = (asked: readonly Asked[]): StyleFigures => ({
  ...ranked(asked, ({ rankInStyle }) => rankInStyle),
  style: shareOf(asked, ({ found, record }) => found.nearest[0]?.style === record.style),
})

/**
 * @param found of the captions' pictures, then of the pairs', then of the words'
 * @param given all records, the indices of captions and pairs among them, and the words
 */
export function captionFigures(
  found: readonly Found[],
  given: {
    records: readonly PackRecord[]
    captions: readonly number[]
    pairs: readonly number[]
    words: readonly string[]
  },
): CaptionFigures {
  const { records, captions, pairs, words } = given
  const asked = captions.map((i, n): Asked => ({ found: found[n], record: records[i] }))
  const inStyles = asked.filter(({ record }) => record.style !== null)
  const styles = [...new Set(inStyles.map(({ record }) => record.style as string))].sort()
  const composed = pairs.map((i, n): Asked => ({ found: found[captions.length + n], record: records[i] }))
  const isConcept =
    (places: number) =>
    ({ found, record }: Asked): boolean =>
      found.nearest.slice(0, places).some(({ id }) => records[id].concept === record.concept)
  const named = words.map((word, n) => ({ word, nearest: found[captions.length + pairs.length + n].nearest }))
  const isTagged =
    (places: number) =>
    ({ word, nearest }: (typeof named)[number]): boolean =>
      nearest.slice(0, places).some(({ id }) => records[id].tags.includes(word))
  return {
    retrieval: ranked(asked, ({ rank }) => rank),
    inStyle: inStyles.length > 0 ? styled(inStyles) : null,
    byStyle: Object.fromEntries(
      styles.map((style) => [style, styled(inStyles.filter(({ record }) => record.style === style))]),
    ),
    words:
      words.length > 0
        ? { count: words.length, top1: shareOf(named, isTagged(1)), top5: shareOf(named, isTagged(5)) }
        : null,
    composition:
      pairs.length > 0
        ? {
            count: pairs.length,
            concept1: shareOf(composed, isConcept(1)),
            concept5: shareOf(composed, isConcept(5)),
            style: shareOf(composed, ({ found, record }) => found.nearest[0]?.style === record.style),
          }
        : null,
  }
}
