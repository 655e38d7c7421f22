/** Captions of an image, from its info and from files beside a pack. */
import { existsSync, readFileSync } from 'node:fs'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'

const textsIn = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string' && text !== '')

/** All captions of an image under the keys asked for, or under the usual ones where there is none. */
export function captionsOf(info: Readonly<Record<string, unknown>>, keys: readonly string[] = []): string[] {
  const chosen = keys.flatMap((key) => (Object.hasOwn(info, key) ? textsIn(info[key]) : []))
  if (chosen.length > 0) return chosen
  return Object.keys(info)
    .filter((key) => key === 'prompt' || key.startsWith('caption'))
    .flatMap((key) => textsIn(info[key]))
}

/** Captions of `PACK-prompt.json` (key → caption, list of captions, or object of info keys), where there is one. */
export function readPrompts(pack: string): Record<string, unknown> {
  const file = `${pack}-prompt.json`
  if (!existsSync(file)) return {}
  try {
    const prompts: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (typeof prompts === 'object' && prompts !== null && !Array.isArray(prompts))
      return prompts as Record<string, unknown>
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw fileError('read', file, error)
  }
  throw new StarError('ERR_FILE', `${file} is not a JSON object of captions: repair it, or remove it`)
}

/** The info with what the prompt file says about the image in place of its own captions. */
export function withPrompt<T extends object>(info: T, own: unknown): T {
  if (own === undefined) return info
  const isObject = typeof own === 'object' && own !== null && !Array.isArray(own)
  return { ...info, ...(isObject ? own : { prompt: own }) }
}
