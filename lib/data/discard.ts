/** Which images the lists and scores of `FilterOptions` leave out: JSON files by the ids of images, made by other programs. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { parseConfig, readJson } from '../config/parse-config.js'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'
import type { FilterOptions } from './filters.js'

/** Id → the filter that leaves the image out. */
export type DiscardedIds = ReadonlyMap<string, 'discard' | 'reward'>

const idsSchema = z.union([z.array(z.union([z.string(), z.number()])), z.record(z.string(), z.unknown())])
const scoresSchema = z.record(z.string(), z.number())

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

/** @throws ERR_FILE where a file cannot be read, ERR_CONFIG where it holds neither ids nor scores */
export function discardedIds({ discard, reward }: Pick<FilterOptions, 'discard' | 'reward'>): DiscardedIds {
  const ids = new Map<string, 'discard' | 'reward'>()
  if (reward)
    for (const file of reward.scores.flatMap(jsonFiles))
      for (const [id, score] of Object.entries(parseConfig(scoresSchema, readJson(file), file)))
        if (score <= reward.above) ids.set(id, 'reward')
  for (const file of discard || []) {
    const listed = parseConfig(idsSchema, readJson(file), file)
    for (const id of Array.isArray(listed) ? listed : Object.keys(listed)) ids.set(String(id), 'discard')
  }
  return ids
}
