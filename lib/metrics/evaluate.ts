/** The evaluation of a model on a pack: what `star evaluate MODEL --data PACK` measures. */
import { existsSync } from 'node:fs'
import { parseConfig } from '../config/parse-config.js'
import { findPacks } from '../data/index.js'
import type { Drawing } from '../engine/drawing-model.js'
import type { LoadedModel } from '../engine/loaded-model.js'
import { backboneCache, type EfficientNetLite0, loadBackbone } from '../models/backbone/index.js'
import type { Clip } from '../models/metrics/index.js'
import { StarError } from '../native/index.js'
import { type SamplingOptions, type SamplingSettings, samplingSchema } from '../sampling/index.js'
import { Random } from '../tensor/index.js'
import { type CaptionFigures, captionFigures, rareWords } from './captions.js'
import { clipScores } from './clip-score.js'
import { Diversity, type DiversityFigures } from './diversity.js'
import { type DrawnPicture, drawAll, filesOf } from './drawing.js'
import type { FeatureNetwork } from './features.js'
import { type FrechetDistance, frechetDistance } from './frechet.js'
import { PackPictures } from './pack-pictures.js'
import { Reconstruction, type ReconstructionFigures } from './reconstruction.js'
import { FeatureCollector, pictureBatch, referenceStatistics } from './reference-statistics.js'
import { NearestPictures, type Query, thumbnail } from './retrieval.js'
import type { SheetRow } from './sheet.js'
import { TokenAccuracy, type TokenFigures } from './token-accuracy.js'

export interface EvaluationOptions {
  /** A pack or a folder of packs. */
  data: string
  /** Captions, words and held-out pairs that are drawn, each at most so many. */
  count: number
  /** Chooses the captions, and is the seed of every picture. */
  seed: number
  /** Pictures drawn together. */
  batchSize: number
  sampling?: SamplingOptions
  features?: FeatureNetwork
  clip?: { name: string; model: Clip }
  signal: AbortSignal
  /** What is being done, and how far it is. */
  onProgress?: (stage: string, done: number, total: number) => void
}

export interface Evaluation {
  model: { name: string; weights: string; dtype: string; device: string }
  data: { pack: string; train: number; heldOut: number }
  settings: Omit<SamplingSettings, 'seed'> & { seed: number; count: number }
  captions: CaptionFigures
  /** Null for a pack without held-out pictures. */
  tokenizer: ReconstructionFigures | null
  tokens: TokenFigures
  diversity: DiversityFigures
  frechet: (FrechetDistance & { features: string; comparable: boolean; drawn: number; pictures: number }) | null
  clip: { model: string; pictures: number; score: number } | null
}

const seedsOfPrompt = 4
const sheetPrompts = 24

/** What the parts of an evaluation share. */
interface Context {
  model: LoadedModel
  pack: PackPictures
  settings: SamplingSettings
  options: EvaluationOptions
  /** Of the perceptual distance; null where it was not fetched. */
  backbone: EfficientNetLite0 | null
}

/** Draws pictures and tells of it. */
async function* draw(
  { model, settings, options }: Context,
  stage: string,
  drawings: readonly Drawing[],
): AsyncGenerator<DrawnPicture> {
  const { batchSize, signal, onProgress } = options
  for await (const drawn of drawAll(model, drawings, { settings, batchSize, signal })) {
    yield drawn
    onProgress?.(stage, drawn.index + 1, drawings.length)
  }
}

/** Pictures of captions, words and pairs, and how they stand to those of the pack. */
async function measureCaptions(
  context: Context,
  chosen: readonly number[],
): Promise<Pick<Evaluation, 'captions' | 'frechet' | 'clip'>> {
  const { pack, options, model } = context
  const { seed, features, clip, signal, onProgress } = options
  const side = model.info.imageSize
  const { records } = pack
  const random = new Random(seed)
  const pairs = some(
    pack.where(({ heldOutPair, concept, style }) => heldOutPair && concept !== null && style !== null),
    options.count,
    random,
  )
  const words = some(rareWords(records), options.count, random)

  const own = async (i: number): Promise<Query['own']> => ({ id: i, thumbnail: thumbnail(await pack.load(i), side) })
  const search = new NearestPictures()
  const collector = features && new FeatureCollector(features)
  let scores = 0
  for await (const { picture, index } of draw(context, 'drawing captions', prompts(records, chosen, seed))) {
    const i = chosen[index]
    search.ask({ thumbnail: thumbnail(picture, side), own: await own(i), style: records[i].style })
    const image = { width: side, height: side, data: picture }
    collector?.add(image)
    if (clip) scores += clipScores(clip.model, [image], [records[i].caption], model.info.device)[0]
  }
  for await (const { picture, index } of draw(context, 'drawing held-out pairs', prompts(records, pairs, seed)))
    search.ask({
      thumbnail: thumbnail(picture, side),
      own: await own(pairs[index]),
      style: records[pairs[index]].style,
    })
  const wordDrawings = words.map((word) => ({ prompt: word, seed }))
  for await (const { picture } of draw(context, 'drawing words', wordDrawings))
    search.ask({ thumbnail: thumbnail(picture, side), own: null, style: null })

  let done = 0
  for await (const { index, picture } of pack.pictures(records.map((_, i) => i))) {
    signal.throwIfAborted()
    search.show({ id: index, style: records[index].style }, thumbnail(picture, side))
    onProgress?.('comparing with the pack', ++done, records.length)
  }
  return {
    captions: captionFigures(search.found(), { records, captions: chosen, pairs, words }),
    frechet: features && collector ? await measureFrechet(context, features, collector) : null,
    clip: clip ? { model: clip.name, pictures: chosen.length, score: scores / chosen.length } : null,
  }
}

async function measureFrechet(
  { pack, options }: Context,
  features: FeatureNetwork,
  collector: FeatureCollector,
): Promise<NonNullable<Evaluation['frechet']>> {
  const { signal, onProgress } = options
  const side = pack.resolution
  const train = pack.where(({ split }) => split === 'train')
  async function* pictures() {
    let done = 0
    for await (const { picture } of pack.pictures(train)) {
      signal.throwIfAborted()
      yield { width: side, height: side, data: picture }
      onProgress?.('features of the pack', ++done, train.length)
    }
  }
  const reference = await referenceStatistics(features, [filesOf(findPacks([options.data])), 'train', side], pictures)
  const drawn = collector.flush()
  return {
    features: features.name,
    comparable: features.comparable,
    drawn: drawn.count,
    pictures: reference.count,
    ...frechetDistance(drawn, reference),
  }
}

/** Pictures in batches, in the order of the indices. */
async function* batches(pack: PackPictures, indices: readonly number[], size: number): AsyncGenerator<Uint8Array[]> {
  let batch: Uint8Array[] = []
  for await (const { picture } of pack.pictures(indices)) {
    batch.push(picture)
    if (batch.length === size) {
      yield batch
      batch = []
    }
  }
  if (batch.length > 0) yield batch
}

async function measureTokenizer({ model, pack, options, backbone }: Context): Promise<Evaluation['tokenizer']> {
  const heldOut = pack.where(({ split }) => split === 'held-out')
  if (heldOut.length === 0) return null
  const reconstruction = new Reconstruction(model.networks.tokenizer, backbone, model.info.device)
  let done = 0
  for await (const batch of batches(pack, heldOut, pictureBatch)) {
    options.signal.throwIfAborted()
    reconstruction.add(batch)
    done += batch.length
    options.onProgress?.('reconstructing held-out pictures', done, heldOut.length)
  }
  return reconstruction.figures()
}

async function measureTokens({ model, pack, options }: Context, chosen: readonly number[]): Promise<TokenFigures> {
  const accuracy = new TokenAccuracy(model.networks, model.info.device)
  let done = 0
  for await (const batch of batches(pack, chosen, accuracy.batchSize)) {
    options.signal.throwIfAborted()
    accuracy.add(
      batch,
      chosen.slice(done, done + batch.length).map((i) => pack.records[i].caption),
    )
    done += batch.length
    options.onProgress?.('predicting tokens', done, chosen.length)
  }
  return accuracy.figures()
}

/** Four pictures of some captions: their diversity, and a sheet of them beside the captions' own pictures. */
async function measureDiversity(
  context: Context,
  chosen: readonly number[],
): Promise<{ diversity: DiversityFigures; rows: SheetRow[] }> {
  const { model, pack, options, backbone } = context
  const side = model.info.imageSize
  const shown = chosen.slice(0, sheetPrompts)
  const diversity = new Diversity(side, backbone, model.info.device)
  const drawings = shown.flatMap((i) =>
    Array.from({ length: seedsOfPrompt }, (_, j) => ({ prompt: pack.records[i].caption, seed: options.seed + j })),
  )
  const rows: SheetRow[] = []
  let pictures: Uint8Array[] = []
  for await (const { picture } of draw(context, 'drawing four seeds', drawings)) {
    pictures.push(picture)
    if (pictures.length < seedsOfPrompt) continue
    diversity.add(pictures)
    const i = shown[rows.length]
    rows.push({ caption: pack.records[i].caption, own: await pack.load(i), pictures })
    pictures = []
  }
  return { diversity: diversity.figures(), rows }
}

const prompts = (records: PackPictures['records'], indices: readonly number[], seed: number): Drawing[] =>
  indices.map((i) => ({ prompt: records[i].caption, seed }))

/** Some items in random order. */
function some<T>(items: readonly T[], count: number, random: Random): T[] {
  const order = [...items]
  random.shuffle(order)
  return order.slice(0, count)
}

/**
 * Draws pictures of a pack's captions and compares them with its pictures. Memory does not grow with the pack: of drawn pictures
 * the thumbnails are kept, of features sums.
 * @returns the figures, and rows for a contact sheet
 * @throws ERR_CONFIG for a pack without captions or training pictures and for sampling settings out of range, ERR_ABORTED
 */
export async function evaluateModel(
  model: LoadedModel,
  options: EvaluationOptions,
): Promise<{ evaluation: Evaluation; rows: SheetRow[] }> {
  const { seed, count, signal } = options
  const named = Object.entries({ ...options.sampling, seed }).filter(([, value]) => value !== undefined)
  const given = { ...model.info.sampling, ...Object.fromEntries(named) }
  const settings = parseConfig(samplingSchema, given, 'the sampling settings')
  using pack = await PackPictures.open(options.data, model.info.imageSize, signal)
  const train = pack.where(({ split }) => split === 'train')
  if (train.length < 2)
    throw new StarError(
      'ERR_CONFIG',
      `${options.data} holds ${train.length} training pictures with captions, expected 2 or more`,
    )
  const order = [...train]
  new Random(seed).shuffle(order)
  const chosen = order.slice(0, count)
  using backbone = existsSync(backboneCache('efficientnet-lite0'))
    ? loadBackbone('efficientnet-lite0', { device: model.info.device })
    : null
  const context: Context = { model, pack, settings, options, backbone }
  const drawn = await measureCaptions(context, chosen)
  const tokenizer = await measureTokenizer(context)
  const tokens = await measureTokens(context, chosen)
  const { diversity, rows } = await measureDiversity(context, chosen)
  const { name, weights, dtype, device } = model.info
  const evaluation: Evaluation = {
    model: { name, weights, dtype, device },
    data: { pack: options.data, train: train.length, heldOut: pack.records.length - train.length },
    settings: { ...settings, count },
    captions: drawn.captions,
    tokenizer,
    tokens,
    diversity,
    frechet: drawn.frechet,
    clip: drawn.clip,
  }
  return { evaluation, rows }
}
