/** The prompts of published benchmarks, as their authors publish them. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { readConfigFile } from '../../config/parse-config.js'
import { csvRows } from '../../data/csv.js'
import { fileError } from '../../native/files.js'
import { quoted, StarError } from '../../native/index.js'

export interface BenchmarkPrompt {
  /** Names the picture; unique. */
  id: string
  prompt: string
}

export interface MjhqPrompt extends BenchmarkPrompt {
  category: string
  /** The picture that Midjourney made of it. */
  reference: string
}

export interface GenEvalPrompt extends BenchmarkPrompt {
  /** The line of the prompts file, which the scorer reads again. */
  metadata: object
}

/** Ids and categories become names of files and folders. @throws ERR_FILE for one that is none */
function checkName(name: string, source: string): void {
  if (!/^[\p{L}\p{N}_][\p{L}\p{N}_ .-]*$/u.test(name))
    throw new StarError('ERR_FILE', `${source} holds the name ${quoted(name)}, expected one that a file can have`)
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw fileError('read', file, error)
  }
}

const expectPrompts = <P extends BenchmarkPrompt>(prompts: P[], source: string): P[] => {
  if (prompts.length === 0)
    throw new StarError('ERR_FILE', `${source} holds no prompt: give the prompts of the benchmark`)
  const empty = prompts.find(({ prompt }) => prompt.trim() === '')
  if (empty) throw new StarError('ERR_FILE', `${source}: the prompt of ${quoted(empty.id)} is empty`)
  return prompts
}

const mjhqSchema = z.record(z.string(), z.object({ category: z.string().min(1), prompt: z.string() }))

/**
 * MJHQ-30K (Li et al. 2024, "Playground v2.5"): meta_data.json, id → category and prompt, and pictures CATEGORY/ID.jpg in the same
 * folder or in mjhq30k_imgs below it.
 * @throws ERR_FILE for a folder without them, naming the first picture that is missing
 */
export function readMjhq(folder: string): MjhqPrompt[] {
  const file = join(folder, 'meta_data.json')
  if (!existsSync(file))
    throw new StarError(
      'ERR_FILE',
      `${folder} holds no meta_data.json: give the folder of MJHQ-30K, with its pictures as CATEGORY/ID.jpg`,
    )
  const entries = Object.entries(readConfigFile(mjhqSchema, file))
  const pictures = existsSync(join(folder, 'mjhq30k_imgs')) ? join(folder, 'mjhq30k_imgs') : folder
  const prompts = entries.map(([id, { category, prompt }]) => {
    checkName(id, file)
    checkName(category, file)
    return { id, category, prompt, reference: join(pictures, category, `${id}.jpg`) }
  })
  const missing = prompts.filter(({ reference }) => !existsSync(reference))
  if (missing.length > 0)
    throw new StarError(
      'ERR_FILE',
      `${missing[0].reference} is not there (${missing.length} of ${prompts.length} pictures are missing): unpack all pictures of MJHQ-30K`,
    )
  return expectPrompts(prompts, file)
}

/**
 * GenEval (Ghosh et al. 2023): evaluation_metadata.jsonl, a JSON object with `prompt` and what is to be seen a line. Ids are the
 * numbers of the lines in five digits.
 * @throws ERR_FILE for a line that is none
 */
export function readGenEval(file: string): GenEvalPrompt[] {
  const lines = textOf(file)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
  const prompts = lines.map((line, i) => {
    let metadata: { prompt?: unknown } | null = null
    try {
      metadata = JSON.parse(line) as { prompt?: unknown } | null
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
    }
    if (typeof metadata !== 'object' || typeof metadata?.prompt !== 'string')
      throw new StarError(
        'ERR_FILE',
        `${file}, line ${i + 1}: expected a JSON object with a "prompt", as in GenEval's evaluation_metadata.jsonl`,
      )
    return { id: String(i).padStart(5, '0'), prompt: metadata.prompt, metadata }
  })
  return expectPrompts(prompts, file)
}

/**
 * DPG-Bench (Hu et al. 2024, "ELLA"): the folder of its prompts, a text file each, whose names are the ids, or dpg_bench.csv with
 * the columns `item_id` and `text`.
 * @throws ERR_FILE for neither
 */
export function readDpg(path: string): BenchmarkPrompt[] {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
  if (!isFolder && existsSync(path) && !path.endsWith('.csv'))
    throw new StarError(
      'ERR_FILE',
      `${path} is neither a folder of text files nor dpg_bench.csv: give the prompts of DPG-Bench`,
    )
  const prompts = isFolder ? dpgFolder(path) : dpgTable(path)
  for (const { id } of prompts) checkName(id, path)
  return expectPrompts(prompts, path)
}

const dpgFolder = (folder: string): BenchmarkPrompt[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.txt'))
    .sort()
    .map((name) => ({ id: basename(name, '.txt'), prompt: textOf(join(folder, name)).trim() }))

function dpgTable(file: string): BenchmarkPrompt[] {
  const [head = [], ...rows] = csvRows(textOf(file))
  const [id, text] = [head.indexOf('item_id'), head.indexOf('text')]
  if (id < 0 || text < 0)
    throw new StarError(
      'ERR_FILE',
      `${file} has the columns ${head.join(', ')}, expected item_id and text as in dpg_bench.csv`,
    )
  // A row a question: the prompt is the same in all of an item.
  const prompts = new Map(rows.map((row) => [row[id] ?? '', (row[text] ?? '').trim()]))
  return [...prompts].map(([item, prompt]) => ({ id: item, prompt }))
}
