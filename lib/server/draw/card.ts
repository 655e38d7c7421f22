/** What a model's card (README.md of its folder) tells people who want to draw with it. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface ModelCard {
  /** The first paragraph: what the model can draw. */
  about: string
  /** Prompts to begin with. */
  examples: string[]
  /** Words to add to a prompt. */
  styles: string[]
}

/** A card is a page of text. */
const mostBytes = 1 << 20
const mostItems = 24
const mostLetters = 600

/** Text without the marks of Markdown: emphasis, code, links. */
const plainText = (text: string): string =>
  text
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/[`*_]/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .slice(0, mostLetters)

/** Items of the list below a heading, without quotes around them. */
function items(lines: readonly string[], heading: RegExp): string[] {
  const at = lines.findIndex((line) => /^#{2,6} /.test(line) && heading.test(line))
  if (at < 0) return []
  const end = lines.findIndex((line, i) => i > at && /^#{1,6} /.test(line))
  return lines
    .slice(at + 1, end < 0 ? undefined : end)
    .flatMap((line) => /^\s*[-*] +(.+)$/.exec(line)?.[1] ?? [])
    .map((item) => plainText(item).replace(/^["“](.*)["”]$/, '$1'))
    .filter((item) => item !== '')
    .slice(0, mostItems)
}

/** Reads a card: its first paragraph, and the lists below the headings "Examples" (or "Prompts") and "Styles". */
export function parseCard(text: string): ModelCard {
  const lines = text.replace(/^---\r?\n[\s\S]*?\r?\n---\r?\n/, '').split(/\r?\n/)
  const first = lines.findIndex((line) => line.trim() !== '' && !/^[#|<!>-]/.test(line))
  const rest = first < 0 ? [] : lines.slice(first)
  const end = rest.findIndex((line) => line.trim() === '')
  return {
    about: plainText(rest.slice(0, end < 0 ? undefined : end).join(' ')),
    examples: items(lines, /\b(examples?|prompts)\b/i),
    styles: items(lines, /\bstyles?\b/i),
  }
}

/** The card of a model folder; an empty one where the model is a checkpoint, or has none. */
export function readCard(path: string): ModelCard {
  const file = join(path, 'README.md')
  const found = statSync(file, { throwIfNoEntry: false })
  return parseCard(found?.isFile() && found.size <= mostBytes ? readFileSync(file, 'utf8') : '')
}
