/** Captions of a pictogram: its label, its everyday names and its keywords, with the style in words and without. */
import { colourNames, type MainColour } from '../colour.js'
import type { Concept, Subject } from './concepts.js'
import { everydayNames } from './everyday/index.js'
import { sayings } from './sayings.js'
import type { IconSet } from './sets.js'

/** Keywords that say too little about a picture to stand for it. */
const vagueTags = new Set(
  `143 30 a able above accessibility adult age amazing animal awesome babe bae bad bestie beauty bff body bro bruh button but
  celebrate celebration chill classic cold comic cool cute date dating death different disbelief direction dnd down emotion
  eyes excited existence expression face facing fantasy fast feel feels folklore for fun game gesture give good great guy hand
  hold holiday hot human idk ily item kawaii lady let lol love luck mad mark mess more much must mx myth nature need new nice
  no not nothing object oh ok old omg open over part past people person point pointing probing raised really right romance
  science sign smh sorry symbol sup tale think this three together tool two type up us upset use vibe wait want way weird
  whatever what who why with wow xoxo yeah yes you your yolo zzz`.split(/\s+/),
)
/** A keyword stands alone as a caption where at most so many things have it. */
const sharedBy = 12

const massNouns =
  /(^| )(bread|rice|bacon|sushi|butter|salt|spaghetti|garlic|broccoli|popcorn|poo|fire|falafel|fondue|oden|sake|mate|ice|custard|shaved ice|ice cream|bubble tea|candy|wood|coral|soap|yarn|thread|chess|tennis|badminton|bowling|lacrosse|field hockey|ice hockey|ping pong|horse racing|camping|cooking|fog|foggy|dna|money|food|snow|rain|liquid|paper|fire|litter|music|baggage|ZZZ|broccoli|seaweed|ginger root|leafy green|sheaf of rice|curry rice|cooked rice|cut of meat|rock and roll)$/i
const plurals =
  /(^|[ -])(grapes|cherries|blueberries|peanuts|beans|pancakes|french fries|chopsticks|glasses|sunglasses|goggles|jeans|gloves|socks|briefs|shorts|hands|eyes|lungs|lips|hearts|points|droplets|houses|hot springs|fireworks|sparkles|dolls|skis|maracas|drums|notes|knobs|frames|books|tabs|scissors|paperclips|dividers|swords|chains|bubbles|tickets|beads|shoes|boots|clothes|bags|prints|footprints|beer mugs|nesting dolls|women|men|people|arts|playing cards|thumbs up|thumbs down|ears|wings|tears|Japanese dolls|waves|eggs|cards)$/i
const unique = /^(sun|kaaba|Statue of Liberty)$/
const names = /^(Mrs\. Claus|Mx Claus|Santa Claus)$/
const consonantSound = /^(u[ns]i|ute|eu|one|ewe|yo|ufo)/i

/** A noun phrase with its article: "a red apple", "an owl", "the sun", "grapes", "sushi". */
export function withArticle(phrase: string): string {
  if (/^(the|a|an|one|two|three) /i.test(phrase)) return phrase
  if (unique.test(phrase)) return `the ${phrase}`
  if (names.test(phrase)) return phrase
  // The noun is what stands before "with …", "of …", "on …" or "in …".
  const head = phrase.split(/ (?:with|without|of|on|in|behind|for|from|showing|playing|at|feeding) /)[0]
  if (/^(cut|sheaf|glass|bowl|pot|pan|map|drop|roll|pile|ear) of /.test(phrase)) return `a${article(phrase)} ${phrase}`
  if (plurals.test(head) || massNouns.test(head)) return phrase
  return `a${article(phrase)} ${phrase}`
}

const article = (phrase: string) => (/^[aeiou]/i.test(phrase) && !consonantSound.test(phrase) ? 'n' : '')

/** A label as one would say it: "waving hand: dark skin tone" → "a waving hand with dark skin tone". */
export function sayLabel(label: string): string {
  if (Object.hasOwn(sayings, label)) return sayings[label]
  const colon = label.indexOf(': ')
  if (colon < 0) return withArticle(label)
  const details = label.slice(colon + 2).split(', ')
  return `${sayLabel(label.slice(0, colon))} with ${details.join(' and ').replace(/\bbeard/, 'a beard')}`
}

/** Everyday names and keywords of all concepts that are in use. */
export class Vocabulary {
  readonly #everyday = new Map<string, string[]>()
  readonly #listed = new Map<string, Set<string>>()
  readonly #count = new Map<string, number>()

  constructor(concepts: readonly Concept[]) {
    for (const [name, labels] of Object.entries(everydayNames)) {
      this.#listed.set(name.replace(/^(a|an|the) /, ''), new Set(labels))
      for (const label of labels) this.#everyday.set(label, [...(this.#everyday.get(label) ?? []), name])
    }
    for (const { tags, leftOut } of concepts)
      if (leftOut === null) for (const tag of new Set(tags)) this.#count.set(tag, (this.#count.get(tag) ?? 0) + 1)
  }

  /** Everyday names of a thing that differ from its label. */
  everyday(label: string): string[] {
    const said = sayLabel(label)
    return (this.#everyday.get(label) ?? []).filter((name) => name !== said)
  }

  /** Keywords that can stand for the thing: its everyday names, and others that are neither vague nor shared by many. */
  keywords({ label, tags }: Concept): string[] {
    return tags.filter(
      (tag) =>
        tag !== label &&
        /^[a-z][a-z -]{2,}$/.test(tag) &&
        !vagueTags.has(tag) &&
        (this.#listed.get(tag)?.has(label) ?? (this.#count.get(tag) ?? 0) <= sharedBy),
    )
  }
}

export interface IconCaptions {
  prompt: string
  caption_plain: string
  caption_phrase: string
  caption_everyday?: string[]
  caption_colour?: string
  caption_keyword?: string[]
  caption_keywords?: string
}

/** `count` of the list from a place that depends on the style, so that the styles of a thing share its words out. */
function taken<T>(list: readonly T[], turn: number, count: number): T[] {
  return Array.from({ length: Math.min(count, list.length) }, (_, i) => list[(turn * count + i) % list.length])
}

const otherColours = /\b(black|white|gr[ae]y|light|dark|gold|golden|silver|bronze|rainbow)\b/

/** The first name of one or two words with the colour before it, "a red car", where the picture clearly has it. */
function withColour(names: readonly string[], { name, share, next }: MainColour): string | null {
  if (share < 0.5 || next > 0.35 * share) return null
  const coloured = new RegExp(`\\b(${colourNames.join('|')})\\b`)
  const found = names.find((phrase) => /^an? \S+( \S+)?$/.test(phrase) && !coloured.test(phrase))
  if (!found || otherColours.test(found)) return null
  return withArticle(`${name} ${found.replace(/^an? /, '')}`)
}

/**
 * Captions under different keys; training takes one of the texts at random.
 * @param turn number of the style: which of many everyday names and keywords a picture gets
 * @param colour what the picture mostly has
 */
export function iconCaptions(
  { concept, label }: Subject,
  set: IconSet,
  turn: number,
  vocabulary: Vocabulary,
  colour: MainColour | null,
): IconCaptions {
  const said = sayLabel(label)
  const everyday = taken(vocabulary.everyday(concept.label), turn, 2)
  const keywords = vocabulary.keywords(concept)
  const keyword = taken(keywords, turn, 2)
  const named = concept.thing && colour ? withColour([...everyday, said], colour) : null
  return {
    prompt: `${said}, ${set.style}`,
    caption_plain: said,
    caption_phrase: `${set.phrase} ${said}`,
    ...(everyday.length > 0
      ? { caption_everyday: [...everyday.map((name) => `${name}, ${set.style}`), everyday[turn % everyday.length]] }
      : {}),
    ...(named ? { caption_colour: `${named}, ${set.style}` } : {}),
    ...(keyword.length > 0
      ? { caption_keyword: keyword.map((word, i) => ((turn + i) % 2 === 0 ? `${word}, ${set.style}` : word)) }
      : {}),
    ...(keywords.length > 0
      ? { caption_keywords: `${[label, ...taken(keywords, turn, 4)].join(', ')}, ${set.style}` }
      : {}),
  }
}
