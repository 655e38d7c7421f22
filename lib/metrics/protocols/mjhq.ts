/** MJHQ-30K: a picture of each prompt, FID and CLIP score of each category and of all. */
import { createHash } from 'node:crypto'
import { closeSync, existsSync, openSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeImage, type RgbImage } from '../../data/index.js'
import type { LoadedModel } from '../../engine/loaded-model.js'
import type { Clip } from '../../models/metrics/index.js'
import { fileError, makeFolder, writeFileAtomic } from '../../native/files.js'
import { clipScores } from '../clip-score.js'
import { filesOf } from '../drawing.js'
import type { FeatureNetwork } from '../features.js'
import { frechetDistance } from '../frechet.js'
import { FeatureCollector, pictureBatch, referenceStatistics } from '../reference-statistics.js'
import { FeatureStatistics } from '../statistics.js'
import {
  drawMissing,
  type ProtocolOptions,
  type ProtocolSettings,
  pictureFile,
  protocolSettings,
  type Shard,
  sharded,
  type Unit,
} from './pictures.js'
import { type MjhqPrompt, readMjhq } from './prompts.js'

export interface MjhqOptions extends ProtocolOptions {
  /** Folder of MJHQ-30K. */
  data: string
  features?: FeatureNetwork
  clip?: { name: string; model: Clip }
}

export interface MjhqFigures {
  pictures: number
  /** Null without features. */
  fid: number | null
  /** Mean of 100·cos; null without a CLIP model. */
  clip: number | null
}

export interface MjhqReport {
  settings: ProtocolSettings
  features: { name: string; comparable: boolean } | null
  clip: string | null
  categories: Record<string, MjhqFigures>
  all: MjhqFigures
}

type Drawn = MjhqPrompt & { file: string }

/** What a process knows of its share of a category. */
interface Part {
  statistics: FeatureStatistics | null
  pictures: number
  scores: number
}

async function readPicture(file: string): Promise<RgbImage> {
  const bytes = await readFile(file).catch((error) => {
    throw fileError('read', file, error)
  })
  return decodeImage(bytes, file)
}

/** Items with their pictures, in batches. */
async function* batches<P>(
  all: readonly P[],
  fileOf: (item: P) => string,
  signal: AbortSignal,
): AsyncGenerator<{ items: P[]; images: RgbImage[] }> {
  for (let begin = 0; begin < all.length; begin += pictureBatch) {
    signal.throwIfAborted()
    const items = all.slice(begin, begin + pictureBatch)
    yield { items, images: await Promise.all(items.map((item) => readPicture(fileOf(item)))) }
  }
}

interface Group {
  category: string
  prompts: Drawn[]
  /** Those that this process draws and measures. */
  own: Drawn[]
}

function byCategory(prompts: readonly Drawn[], shard: Shard): Group[] {
  const own = new Set(sharded(prompts, shard))
  const groups = new Map<string, Group>()
  for (const prompt of prompts) {
    const { category } = prompt
    const group = groups.get(category) ?? { category, prompts: [], own: [] }
    groups.set(category, group)
    group.prompts.push(prompt)
    if (own.has(prompt)) group.own.push(prompt)
  }
  return [...groups.values()].sort((a, b) => (a.category < b.category ? -1 : 1))
}

const partFile = ({ out, shard }: MjhqOptions, { category }: Group, rank: number): string =>
  join(out, 'parts', `${category}-${rank}-of-${shard.size}.part`)

/** All that decides what a part holds, besides the pictures' settings. */
function identityOf({ features, clip }: MjhqOptions, { prompts }: Group): string {
  const ids = prompts.map(({ id }) => id)
  return createHash('sha256')
    .update(JSON.stringify([features?.fingerprint, clip?.name, ids]))
    .digest('hex')
}

/** A part, where it is there and holds what is asked for. */
function readPart(options: MjhqOptions, group: Group, rank: number): Part | null {
  const file = partFile(options, group, rank)
  if (!existsSync(file)) return null
  const { statistics, more } = FeatureStatistics.read(file)
  const { identity, pictures, scores } = more as { identity: string; pictures: number; scores: number }
  if (identity !== identityOf(options, group)) return null
  return { statistics: options.features ? statistics : null, pictures, scores }
}

/** Features and scores of one category's share, unless its file is there. */
async function measurePart(options: MjhqOptions, group: Group, device: string): Promise<void> {
  const { features, clip, shard, signal, out } = options
  if (readPart(options, group, shard.rank)) return
  const collector = features && new FeatureCollector(features)
  let scores = 0
  for await (const batch of batches(group.own, ({ file }) => file, signal)) {
    for (const image of batch.images) collector?.add(image)
    if (clip) {
      const texts = batch.items.map(({ prompt }) => prompt)
      scores += clipScores(clip.model, batch.images, texts, device).reduce((a, b) => a + b, 0)
    }
  }
  makeFolder(join(out, 'parts'))
  const statistics = collector?.flush() ?? new FeatureStatistics(1)
  const more = { identity: identityOf(options, group), pictures: group.own.length, scores }
  statistics.write(partFile(options, group, shard.rank), more)
}

/** Statistics of a category's reference pictures. */
function reference(options: MjhqOptions, features: FeatureNetwork, { prompts }: Group): Promise<FeatureStatistics> {
  const files = prompts.map((prompt) => prompt.reference)
  async function* pictures(): AsyncGenerator<RgbImage> {
    for await (const { images } of batches(files, (file) => file, options.signal)) yield* images
  }
  return referenceStatistics(features, ['mjhq', filesOf(files)], pictures)
}

/** Made by the process that writes the report, since two may find at once that they are the last. */
const claimFile = ({ out }: MjhqOptions): string => join(out, 'parts', 'report.claim')

/** Whether this process is the first that asks. @throws ERR_FILE when the folder cannot be written */
function claimReport(options: MjhqOptions): boolean {
  const file = claimFile(options)
  try {
    closeSync(openSync(file, 'wx'))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw fileError('written', file, error)
  }
}

/** The parts of all processes by category; null while one is missing. */
function allParts(options: MjhqOptions, groups: readonly Group[]): (() => Part[])[] | null {
  const ranks = Array.from({ length: options.shard.size }, (_, rank) => rank)
  const complete = groups.every((group) => ranks.every((rank) => readPart(options, group, rank)))
  // Parts are read again when they are merged, so that those of one category are held at once.
  return complete ? groups.map((group) => () => ranks.map((rank) => readPart(options, group, rank)!)) : null
}

/** Sums of drawn pictures, and statistics of those that they are compared with. */
class Comparison {
  readonly #drawn: Part
  readonly #reference: FeatureStatistics | null

  constructor(private readonly options: MjhqOptions) {
    const { features } = options
    this.#drawn = { statistics: features ? new FeatureStatistics(features.size) : null, pictures: 0, scores: 0 }
    this.#reference = features ? new FeatureStatistics(features.size) : null
  }

  add(parts: readonly Part[], reference: FeatureStatistics | null): void {
    for (const { statistics, pictures, scores } of parts) {
      if (statistics) this.#drawn.statistics?.merge(statistics)
      this.#drawn.pictures += pictures
      this.#drawn.scores += scores
    }
    if (reference) this.#reference?.merge(reference)
  }

  figures(): MjhqFigures {
    const { statistics, pictures, scores } = this.#drawn
    // A covariance takes two pictures.
    const enough = statistics && this.#reference && pictures > 1
    return {
      pictures,
      fid: enough ? frechetDistance(statistics, this.#reference!).distance : null,
      clip: this.options.clip ? scores / pictures : null,
    }
  }
}

/**
 * Draws what is missing, measures this process's share, and makes the report when it is the last of the processes to be done;
 * none waits for another. Pictures lie in pictures/CATEGORY/ID.png, sums of features and scores in parts/, the report in
 * evaluation.json. A run that was stopped resumes from these files.
 * @returns null where another process makes the report
 * @throws ERR_FILE for a folder that is not MJHQ-30K, ERR_CONFIG for other settings than the folder's, ERR_ABORTED
 */
export async function evaluateMjhq(model: LoadedModel, options: MjhqOptions): Promise<MjhqReport | null> {
  const { out, shard, seed, features, signal, onProgress } = options
  const prompts = readMjhq(options.data).map(
    (prompt): Drawn => ({
      ...prompt,
      file: join(out, 'pictures', prompt.category, `${prompt.id}.png`),
    }),
  )
  const settings = protocolSettings(model, 'mjhq', options)
  // What is left of an earlier run.
  rmSync(claimFile(options), { force: true })
  const side = model.info.imageSize
  const units = prompts.map(({ prompt, file }): Unit => {
    const drawings = [{ prompt, seed }]
    return { drawings, file, write: ([data]) => writeFileAtomic(file, pictureFile(data, side, settings, drawings)) }
  })
  await drawMissing(model, units, settings, options)
  const groups = byCategory(prompts, shard)
  for (const [i, group] of groups.entries()) {
    onProgress?.('measuring', i, groups.length)
    await measurePart(options, group, model.info.device)
    // The reference pictures are shared by category, and their statistics kept for all.
    if (features && i % shard.size === shard.rank) await reference(options, features, group)
  }
  const parts = allParts(options, groups)
  if (!parts || !claimReport(options)) return null
  const all = new Comparison(options)
  const categories: Record<string, MjhqFigures> = {}
  for (const [i, group] of groups.entries()) {
    onProgress?.('distances', i, groups.length + 1)
    signal.throwIfAborted()
    const of = [parts[i](), features ? await reference(options, features, group) : null] as const
    const comparison = new Comparison(options)
    comparison.add(...of)
    all.add(...of)
    categories[group.category] = comparison.figures()
  }
  const report: MjhqReport = {
    settings,
    features: features ? { name: features.name, comparable: features.comparable } : null,
    clip: options.clip?.name ?? null,
    categories,
    all: all.figures(),
  }
  onProgress?.('distances', groups.length + 1, groups.length + 1)
  writeFileAtomic(join(out, 'evaluation.json'), `${JSON.stringify(report, null, 2)}\n`)
  return report
}
