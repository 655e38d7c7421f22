/**
 * Drawings of the Open Clip Art Library, as Debian's package openclipart-svg holds them: SVG files in folders by subject,
 * with title and keywords inside. In the public domain; a part of no package that npm installs, so whoever wants them names
 * the folder.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { StarError } from '../../native/error.js'
import type { Concept, Concepts, Subject } from './concepts.js'
import type { IconPicture, LeftOut } from './pictures.js'
import type { IconSet } from './sets.js'

export const openClipart: IconSet = {
  id: 'openclipart',
  package: null,
  kind: 'folder',
  style: 'drawing',
  phrase: 'a drawing of',
  genders: true,
  tones: false,
  title: 'Open Clip Art Library',
  author: 'its contributors, named in the files',
  source: 'https://openclipart.org',
  license: 'Public domain',
}

/** Folders of things; the others hold signs, flags, buttons, shapes, patterns and icon themes of desktops. */
const folders =
  /^(animals|buildings|containers|education|electronics|food|geography\/astronomy|office|people|plants|recreation|science|tools|transportation)(\/|$)/
const leftOutFolders =
  /^(transportation\/(aiga-symbols|roadsigns)|recreation\/(games\/(cards|chess|dice)|religion)|people\/stickmen)/

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
const decoded = (text: string) => text.replace(/&(\w+);/g, (all, name) => entities[name] ?? all)

/** "red_telephone_mimooh_01" and "Clipart by Nicu Buculei - note with pin 2" as words; null where too little is left. */
export function titleWords(title: string): string | null {
  const words = decoded(title)
    .replace(/^clip ?art by [^-]*-/i, '')
    .replace(/\([^)]*\)/g, ' ')
    .replace(/[_-]+/g, ' ')
    .replace(/\b(clip ?art|icon|svg|image|picture|remix|vector)\b/gi, ' ')
    .replace(/\d+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase()
  return /^[a-z][a-z' ,]{2,39}$/.test(words) && !/architetto/.test(words) ? words : null
}

/** User units in a unit of length, at the 90 dots an inch of the programs that wrote these files. */
const userUnits: Readonly<Record<string, number>> = {
  '': 1,
  px: 1,
  pt: 1.25,
  pc: 15,
  mm: 90 / 25.4,
  cm: 90 / 2.54,
  in: 90,
}

/** The SVG with a view box as large as its page, where it has none: without one the drawing would not grow with the page. */
export function withViewBox(svg: string): string {
  const tag = /<svg\b[^>]*>/.exec(svg)?.[0]
  if (!tag || /\bviewBox=/.test(tag)) return svg
  const length = /\s(width|height)=["']([\d.]+)([a-z]*)["']/g
  const page: Record<string, number> = {}
  const sized = tag.replace(length, (_, name: string, value: string, unit: string) => {
    page[name] = Number(value) * (userUnits[unit] ?? Number.NaN)
    return ` ${name}="${page[name]}"`
  })
  if (!(page.width > 0 && page.height > 0)) return svg
  return svg.replace(tag, () => sized.replace(/^<svg\b/, `<svg viewBox="0 0 ${page.width} ${page.height}"`))
}

interface Drawing {
  path: string
  title: string
  keywords: string[]
  free: boolean
}

function readDrawing(folder: string, path: string): Drawing {
  const text = readFileSync(join(folder, path), 'utf8')
  const title = /<dc:title[^>]*>([^<]*)</.exec(text)?.[1] ?? ''
  const keywords = [...text.matchAll(/<rdf:li[^>]*>([^<]*)</g)].map(([, word]) => decoded(word).trim().toLowerCase())
  return { path, title: title.trim(), keywords, free: /license[^>]*resource="[^"]*public ?domain/i.test(text) }
}

/**
 * The drawings of things that say in a title what they show.
 * @throws ERR_FILE when the folder holds none
 */
export function openClipartPictures(folder: string, concepts: Concepts, leftOut: LeftOut): IconPicture[] {
  const paths = existsSync(folder)
    ? (readdirSync(folder, { recursive: true, encoding: 'utf8' }) as string[])
        .map((path) => path.replaceAll('\\', '/'))
        .filter((path) => path.endsWith('.svg'))
        .sort()
    : []
  const drawings: Drawing[] = []
  for (const path of paths) {
    if (!folders.test(path) || leftOutFolders.test(path)) leftOut(openClipart, 'category', path)
    else drawings.push(readDrawing(folder, path))
  }
  if (drawings.length === 0)
    throw new StarError(
      'ERR_FILE',
      `${folder} holds no drawings of openclipart-svg: give the folder with animals, food and so on in it, of Debian /usr/share/openclipart/svg`,
    )
  // Titles of whole collections, and of painters' series, say nothing about a drawing.
  const count = new Map<string, number>()
  for (const { title } of drawings) count.set(title, (count.get(title) ?? 0) + 1)
  const pictures: IconPicture[] = []
  for (const { path, title, keywords, free } of drawings) {
    const name = (count.get(title) ?? 0) > 3 ? null : titleWords(title)
    if (!name || !free) {
      leftOut(openClipart, free ? 'unnamed' : 'licence', path)
      continue
    }
    pictures.push({
      set: openClipart,
      subject: subjectOf(name, path, keywords, concepts),
      name: path,
      read: () => Buffer.from(withViewBox(readFileSync(join(folder, path), 'utf8'))),
    })
  }
  return pictures
}

/** The emoji of that name, or a thing of its own. */
function subjectOf(name: string, path: string, keywords: readonly string[], concepts: Concepts): Subject {
  const known = concepts.byName(name)?.concept
  const folderWords = new Set(path.split('/').slice(0, -1))
  const own: Concept = {
    id: `openclipart ${name}`,
    label: name,
    tags: [
      ...new Set(keywords.filter((word) => /^[a-z][a-z -]+$/.test(word) && word !== 'hash' && !folderWords.has(word))),
    ],
    thing: !/^(food|people)\//.test(path),
    leftOut: null,
  }
  const concept = known?.leftOut === null ? known : own
  return { concept, label: concept.label, hexcode: path.slice(0, -'.svg'.length).replaceAll('/', '-'), tone: false }
}
