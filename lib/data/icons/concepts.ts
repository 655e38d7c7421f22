/** The things that pictograms show: emoji of emojibase-data, less the classes that no prompt asks for. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { normalizedHexcode, packageFolder } from '../names.js'
import { otherNames } from './other-names.js'

/** Why a picture has no place in the pack. */
export type LeftOutReason =
  /** Flags of countries, letters, signs of interfaces, arrows, clock faces … */
  | 'category'
  | 'tone'
  | 'gender'
  /** The same thing turned to the other side. */
  | 'direction'
  /** A name that no emoji has. */
  | 'unnamed'
  /** The picture shows something else than its name says. */
  | 'wrong'
  /** A further picture of the same thing in the same set. */
  | 'twice'
  /** Not marked as free to use. */
  | 'licence'
  | 'monochrome'
  /** Nearly the picture of the same thing in an earlier set. */
  | 'duplicate'
  | 'notRendered'

export interface Concept {
  /** Code points in lower case hexadecimal, without skin tone. */
  id: string
  label: string
  tags: readonly string[]
  /** Whether it is an animal, a plant, a vehicle or a thing, which may be called by its colour; food and people may not. */
  thing: boolean
  /** Why no set's picture of it is taken; `gender`: only of sets that take genders. */
  leftOut: 'category' | 'direction' | 'gender' | null
}

/** What a picture is of: a concept, in one skin tone or in none. */
export interface Subject {
  concept: Concept
  /** The label with the skin tone, "waving hand: dark skin tone". */
  label: string
  hexcode: string
  tone: boolean
}

interface EmojiRecord {
  hexcode: string
  label: string
  tags?: string[]
  group?: number
  subgroup?: number
  skins?: (EmojiRecord & { tone?: number | number[] })[]
}

/** Animals and plants, travel and places, activities, objects. */
const thingGroups = new Set([3, 5, 6, 7])
const leftOutSubgroups = new Set([
  ...[
    'skin-tone',
    'hair-style',
    'country-flag',
    'subdivision-flag',
    'keycap',
    'alphanum',
    'av-symbol',
    'arrow',
    'zodiac',
  ],
  ...['gender', 'transport-sign', 'punctuation', 'math', 'currency', 'other-symbol', 'religion'],
])
const leftOutLabels = [
  / o’clock$|-thirty$/,
  /^(family|kiss|couple with heart): /,
  /^(black|white) (large|medium|small|medium-small) square$/,
  /^(small|large) (orange|blue) diamond$/,
  / button$|^diamond with a dot$|pointed (up|down)$/,
  /^(mahjong|flower playing|regional)/,
  // A stamp, not a flower.
  /^white flower$/,
]
/** Pictures of something else than the label says today: sets drew revolvers before the emoji became a toy. */
export const wrongPictures: ReadonlySet<string> = new Set(
  ['emojitwo', 'streamline', 'noto-v1', 'fxemoji'].map((set) => `${set}: water pistol`),
)
const tonedSubgroups =
  /^(hand-fingers-open|hand-fingers-partial|hand-single-finger|hand-fingers-closed|hands|hand-prop|body-parts|person)$/

/** Letters and digits only, so that "mrs-claus" is "Mrs. Claus". */
const plain = (name: string) =>
  name
    .normalize('NFD')
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')

interface IconifyNames {
  chars: Record<string, string>
  aliases: Record<string, { parent: string }>
}

export function readIconify(packageName: string): IconifyNames & {
  icons: Record<
    string,
    { body: string; left?: number; top?: number; width?: number; height?: number; hidden?: boolean }
  >
  width: number
  height: number
} {
  const folder = packageFolder(packageName, 'the icon data set')
  const read = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'))
  const { icons, aliases = {}, width = 16, height = 16 } = read('icons.json')
  return { icons, aliases, width, height, chars: read('chars.json') }
}

/** Emoji by code point and by the names that sets give them. */
export class Concepts {
  readonly all: readonly Concept[]
  readonly #subjects = new Map<string, Subject>()
  readonly #names = new Map<string, Subject>()

  /** @throws ERR_FILE when a package is missing */
  constructor() {
    const folder = join(packageFolder('emojibase-data', 'the icon data set'), 'en')
    const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
    const records = read('data.json') as EmojiRecord[]
    const { subgroups } = read('messages.json') as { subgroups: { key: string; order: number }[] }
    const labels = new Set(records.map(({ label }) => label))
    const subgroupOf = (record: EmojiRecord) => {
      const keys = subgroups.filter(({ order }) => order === record.subgroup).map(({ key }) => key)
      return keys[0] ?? null
    }
    this.all = records.map((record) => {
      const subgroup = subgroupOf(record)
      const concept: Concept = {
        id: record.hexcode.toLowerCase(),
        label: record.label,
        tags: record.tags ?? [],
        thing: thingGroups.has(record.group ?? -1),
        leftOut: reasonAgainst(record.label, subgroup, labels),
      }
      const subject = { concept, label: record.label, hexcode: concept.id, tone: false }
      this.#subjects.set(normalizedHexcode(record.hexcode), subject)
      this.#names.set(plain(record.label), subject)
      for (const skin of record.skins ?? []) {
        const hexcode = skin.hexcode.toLowerCase()
        // One tone a picture, and only where the tone is what the picture shows.
        const taken = typeof skin.tone === 'number' && subgroup !== null && tonedSubgroups.test(subgroup)
        const toned = taken ? concept : { ...concept, leftOut: concept.leftOut ?? 'category' }
        this.#subjects.set(normalizedHexcode(hexcode), { concept: toned, label: skin.label, hexcode, tone: true })
      }
      return concept
    })
    for (const name of ['noto', 'twemoji']) this.#addNames(readIconify(`@iconify-json/${name}`))
    for (const file of ['cldr', 'github', 'iamcal', 'joypixels', 'emojibase'])
      for (const [hexcode, names] of Object.entries(
        read(`shortcodes/${file}.json`) as Record<string, string | string[]>,
      ))
        for (const name of [names].flat()) this.#addName(name, this.byHexcode(hexcode))
    for (const [label, names] of Object.entries(otherNames))
      for (const name of names) this.#addName(name, this.#names.get(plain(label)) ?? null)
  }

  #addNames({ chars, aliases }: IconifyNames): void {
    const named = new Map(Object.entries(chars).map(([hexcode, name]) => [name, this.byHexcode(hexcode)]))
    for (const [name, subject] of named) this.#addName(name, subject)
    for (const [alias, { parent }] of Object.entries(aliases)) this.#addName(alias, named.get(parent) ?? null)
  }

  #addName(name: string, subject: Subject | null): void {
    if (subject && !subject.tone && !this.#names.has(plain(name))) this.#names.set(plain(name), subject)
  }

  byHexcode(hexcode: string): Subject | null {
    return this.#subjects.get(normalizedHexcode(hexcode)) ?? null
  }

  byName(name: string): Subject | null {
    return this.#names.get(plain(name)) ?? null
  }
}

function reasonAgainst(label: string, subgroup: string | null, labels: ReadonlySet<string>): Concept['leftOut'] {
  if (subgroup === null || leftOutSubgroups.has(subgroup) || leftOutLabels.some((pattern) => pattern.test(label)))
    return 'category'
  if (/facing right$/.test(label)) return 'direction'
  const open = /^(?:man|woman|men|women)(?:: | in | with | )(.*)$/.exec(label)
  if (!open) return null
  const neutral = [
    open[1],
    `person ${open[1]}`,
    label.replace(/^(wo)?man/, 'person'),
    label.replace(/^(wo)?men/, 'people'),
  ]
  return neutral.some((name) => labels.has(name)) ? 'gender' : null
}
