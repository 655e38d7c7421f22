/** Which images the lists and scores of `FilterOptions` leave out: JSON files by the ids of images, made by other programs. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { readJson } from '../config/json.js'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'
import type { FilterOptions } from './filters.js'

/** Id → the filter that leaves the image out. */
export type DiscardedIds = ReadonlyMap<string, 'discard' | 'reward'>

/** A file, or all JSON files of a folder. */
function jsonFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    const files = readdirSync(path).filter((name) => name.endsWith('.json'))
    if (files.length > 0) return files.sort().map((name) => join(path, name))
  } catch (error) {
    throw fileError('read', path, error)
  }
  throw new StarError('ERR_FILE', `${path} holds no .json file: expected files with objects id → score`)
}

// Without a schema, whose library would be the larger part of what a loader's thread has to load.
const isObject = (json: unknown): json is Record<string, unknown> =>
  typeof json === 'object' && json !== null && !Array.isArray(json)

const wrong = (file: string, given: unknown, expected: string): StarError =>
  new StarError(
    'ERR_CONFIG',
    `${file} holds ${JSON.stringify(given).slice(0, 60)}, expected ${expected}. Correct this and run it again`,
  )

function scoresOf(file: string): [string, number][] {
  const json = readJson(file)
  if (!isObject(json)) throw wrong(file, json, 'an object id → score')
  return Object.entries(json).map(([id, score]) => {
    if (typeof score !== 'number') throw wrong(file, { [id]: score }, 'a number for each id')
    return [id, score]
  })
}

function idsOf(file: string): string[] {
  const json = readJson(file)
  if (isObject(json)) return Object.keys(json)
  if (!Array.isArray(json)) throw wrong(file, json, 'a list of ids, or an object whose keys are ids')
  return json.map((id: unknown) => {
    if (typeof id !== 'string' && typeof id !== 'number') throw wrong(file, id, 'a list of ids')
    return String(id)
  })
}

/** @throws ERR_FILE where a file cannot be read, ERR_CONFIG where it holds neither ids nor scores */
export function discardedIds({ discard, reward }: Pick<FilterOptions, 'discard' | 'reward'>): DiscardedIds {
  const ids = new Map<string, 'discard' | 'reward'>()
  if (reward)
    for (const [id, score] of reward.scores.flatMap(jsonFiles).flatMap(scoresOf))
      if (score <= reward.above) ids.set(id, 'reward')
  for (const id of (discard || []).flatMap(idsOf)) ids.set(id, 'discard')
  return ids
}
