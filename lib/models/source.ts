/** Where a model comes from: a model folder, or a published checkpoint with the tokenizer file beside it. */
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { parseConfig } from '../config/parse-config.js'
import { StarError } from '../native/index.js'
import type { Module } from '../nn/index.js'
import { countOf, scope, type Tensor } from '../tensor/index.js'
import {
  elementSizes,
  findModelFolder,
  type ModelPart,
  openWeights,
  readModelConfig,
  type Weights,
} from '../weights/index.js'
import { expectSizes } from './sizes.js'
import {
  crossAttentionOf,
  isStarTransformer,
  publishedScales,
  type ReleasedOptions,
  releasedLeftovers,
  releasedStarConfig,
  rotationsOf,
  type Shapes,
  type StarConfig,
  samplerHeadNames,
  scalesOf,
  starConfigSchema,
} from './star/index.js'
import {
  releasedTokenizerConfig,
  type TokenizerConfig,
  tokenizerSchema,
  tokenizerStatistics,
} from './tokenizer/index.js'

/** The published tokenizer, which is looked for beside a checkpoint. */
export const publishedTokenizer = 'vae_ch160v4096z32.pth'

/** What a checkpoint does not say by itself; a model folder says everything. */
export interface SourceOptions extends ReleasedOptions {
  /** File of the tokenizer's weights; default: those inside the checkpoint, else `vae_ch160v4096z32.pth` beside it. */
  tokenizer?: string
  /** Name or folder of the text encoder that the transformer was trained with. */
  textEncoder?: string
}

export interface ModelSource {
  name: string
  /** Model folder or checkpoint file. */
  path: string
  tokenizer: TokenizerConfig
  /** Null where there is only a tokenizer. */
  transformer: StarConfig | null
  /** Whether there are weights of a sampler head. */
  samplerHead: boolean
  textEncoder: string | null
  /** Sampling settings to use where the caller names none; not checked. */
  sampling: Readonly<Record<string, unknown>>
  /** What its presets of `speed` leave out; not checked. */
  speeds: Readonly<Record<string, unknown>>
  /** Weights that its training began with; null where nothing says so. */
  startedFrom: string | null
  /** Width and height of the pictures that it was trained on; null: squares of the tokenizer's side. */
  shapes: readonly (readonly [number, number])[] | null
  /** The weights of a part by the names of its module. The caller disposes them. */
  open(part: ModelPart): Weights
}

/** Left out of a part's weights, and let pass when they are missing or of another shape. */
export const ignoredWeights: Readonly<Record<ModelPart, RegExp>> = {
  tokenizer: tokenizerStatistics,
  transformer: new RegExp(`${releasedLeftovers.source}|${samplerHeadNames.source}`),
  // Published files hold it among the transformer's tensors.
  'sampler-head': new RegExp(`^(?!${samplerHeadNames.source.slice(1)})`),
}

/** A tensor that every module of the kind has. */
const marks: Readonly<Record<ModelPart, string>> = {
  tokenizer: 'quantize.embedding.weight',
  transformer: 'blocks.0.attn.mat_qkv.weight',
  'sampler-head': 'word_embed_head.weight',
}

/** Where a published checkpoint has its parts. */
const usualKeys: Readonly<Record<ModelPart, string>> = {
  tokenizer: 'trainer.vae_local',
  transformer: 'trainer.var_wo_ddp',
  'sampler-head': 'trainer.var_wo_ddp',
}

/**
 * Copies the weights of a part into its module, made from the source's configuration.
 * @throws ERR_SHAPE naming the file and what does not fit; ERR_FILE for a damaged one
 */
export function loadPart(source: ModelSource, part: ModelPart, module: Module): void {
  using weights = source.open(part)
  try {
    const options = { ignore: ignoredWeights[part], onCopied: (given: Tensor) => weights.drop(given) }
    scope(() => module.load(weights.tensors(), options))
  } catch (error) {
    if (!(error instanceof StarError) || error.code !== 'ERR_SHAPE') throw error
    throw new StarError('ERR_SHAPE', `${weights.path}: ${error.message}. Take all parts from the same model`, {
      cause: error,
    })
  }
}

/** Names and shapes of a part's weights, without those that no module takes. */
export function partEntries(
  source: ModelSource,
  part: ModelPart,
): Iterable<{ name: string; bytes: number; count: number }> {
  using weights = source.open(part)
  return Array.from(weights.entries).flatMap(({ name, shape, dtype }) => {
    const count = countOf(shape)
    return ignoredWeights[part].test(name) ? [] : [{ name, count, bytes: count * elementSizes[dtype] }]
  })
}

function folderSource(folder: string): ModelSource {
  const config = readModelConfig(folder)
  const file = join(folder, 'model.json')
  const tokenizer = parseConfig(tokenizerSchema, config.tokenizer, `"tokenizer" of ${file}`)
  const transformer = config.transformer
    ? parseConfig(starConfigSchema, config.transformer, `"transformer" of ${file}`)
    : null
  expectStoredSizes(folder, tokenizer, transformer)
  return {
    name: config.name,
    path: folder,
    tokenizer,
    transformer,
    samplerHead: existsSync(join(folder, 'sampler-head.safetensors')),
    textEncoder: config.textEncoder ?? null,
    sampling: config.sampling ?? {},
    speeds: config.speeds ?? {},
    startedFrom: config.startedFrom ?? null,
    shapes: config.shapes ?? null,
    open: (part) => openWeights(join(folder, `${part}.safetensors`)),
  }
}

/**
 * Compares the sizes in a model.json with those of the weights beside it. A file that is missing is told of when it is opened.
 * @throws ERR_SHAPE
 */
function expectStoredSizes(folder: string, tokenizer: TokenizerConfig, transformer: StarConfig | null): void {
  const source = join(folder, 'model.json')
  const shapesIn = (file: string): Shapes => {
    using weights = openWeights(file)
    return shapesOf(weights)
  }
  const tokenizerFile = join(folder, 'tokenizer.safetensors')
  if (existsSync(tokenizerFile)) {
    const stored = releasedTokenizerConfig(shapesIn(tokenizerFile), tokenizer.patchNums)
    const { baseChannels, channelMultipliers, residualBlocks, vocabSize, latentChannels } = stored
    const sizes = { baseChannels, channelMultipliers, residualBlocks, vocabSize, latentChannels }
    // With one φ a scale there are as many as scales, which are few.
    const phi = tokenizer.phi === 'per-scale' || stored.phi === 'per-scale' ? {} : { phi: stored.phi }
    expectSizes({ source, weights: tokenizerFile }, tokenizer, { ...sizes, ...phi })
  }
  const transformerFile = join(folder, 'transformer.safetensors')
  if (transformer && existsSync(transformerFile)) {
    const stored = releasedStarConfig(shapesIn(transformerFile), new Map(), { patchNums: transformer.patchNums })
    const { depth, width, vocabSize, latentChannels, textWidth } = stored
    const hidden = (config: StarConfig): number => Math.round(config.width * config.mlpRatio)
    const given = { ...transformer, hidden: hidden(transformer) }
    const sizes = { depth, width, vocabSize, latentChannels, textWidth, hidden: hidden(stored) }
    expectSizes({ source, weights: transformerFile }, given, sizes)
  }
}

const shapesOf = (weights: Weights): Shapes =>
  new Map(Array.from(weights.entries, ({ name, shape }) => [name, shape] as const))

/** The dictionary that holds a tensor of this name: undefined where it is not there, '' for the top. */
function dictionaryOf(weights: Weights, tensor: string, usual: string): string | undefined {
  const found = weights.names.flatMap((name) =>
    name === tensor ? [''] : name.endsWith(`.${tensor}`) ? [name.slice(0, -tensor.length - 1)] : [],
  )
  return found.find((key) => key === usual || key === '') ?? found[0]
}

const openBelow = (path: string, key: string): Weights => openWeights(path, key === '' ? {} : { key })

interface TokenizerFile {
  path: string
  key: string
}

/** The tokenizer of a checkpoint: as named, inside it, or beside it. */
function findTokenizer(path: string, weights: Weights, named?: string): TokenizerFile {
  // A checkpoint may hold the statistics of its tokenizer without the weights.
  const inside = dictionaryOf(weights, 'encoder.conv_in.weight', usualKeys.tokenizer)
  if (named === undefined && inside !== undefined) return { path, key: inside }
  const beside = join(dirname(path), publishedTokenizer)
  if (named === undefined && !existsSync(beside))
    throw new StarError(
      'ERR_FILE',
      `${path} holds no tokenizer, and ${publishedTokenizer} is not beside it: put it there, or name the tokenizer's file (tokenizer, --tokenizer)`,
    )
  const file = named ?? beside
  using opened = openWeights(file)
  const key = dictionaryOf(opened, marks.tokenizer, usualKeys.tokenizer)
  if (key === undefined)
    throw new StarError(
      'ERR_FILE',
      `${file} is no tokenizer: it holds no ${marks.tokenizer}. Name a file such as ${publishedTokenizer}`,
    )
  return { path: file, key }
}

function tokenizerConfig(file: TokenizerFile, patchNums: readonly number[]): TokenizerConfig {
  using weights = openBelow(file.path, file.key)
  return releasedTokenizerConfig(shapesOf(weights), patchNums)
}

/** A file with a tokenizer only: it was trained with the scales of 256², unless others are given. */
function tokenizerSource(path: string, weights: Weights, options: SourceOptions): ModelSource {
  const file = findTokenizer(path, weights, path)
  const patchNums = options.patchNums ?? (publishedScales.get(256) as readonly number[])
  return {
    name: basename(path, extname(path)),
    path,
    tokenizer: tokenizerConfig(file, patchNums),
    transformer: null,
    samplerHead: false,
    textEncoder: null,
    sampling: {},
    speeds: {},
    startedFrom: null,
    shapes: null,
    open: () => openBelow(file.path, file.key),
  }
}

function checkpointSource(path: string, options: SourceOptions): ModelSource {
  using weights = openWeights(path)
  const key = dictionaryOf(weights, marks.transformer, usualKeys.transformer)
  if (key === undefined) return tokenizerSource(path, weights, options)
  using transformer = openBelow(path, key)
  const shapes = shapesOf(transformer)
  const values = new Map<string, unknown>([...weights.values, ...Object.entries(weights.metadata)])
  const config = releasedStarConfig(shapes, values, options)
  const file = findTokenizer(path, weights, options.tokenizer)
  return {
    name: basename(path, extname(path)),
    path,
    tokenizer: tokenizerConfig(file, config.patchNums),
    transformer: config,
    samplerHead: transformer.names.some((name) => samplerHeadNames.test(name)),
    textEncoder: options.textEncoder ?? null,
    sampling: options.version ? { version: options.version } : {},
    speeds: {},
    startedFrom: null,
    shapes: null,
    open: (part) => (part === 'tokenizer' ? openBelow(file.path, file.key) : openBelow(path, key)),
  }
}

/**
 * Finds a model: a shipped one by name, a model folder, or a checkpoint file (.pth or safetensors) of the reference
 * implementation or one made from it. Nothing is loaded yet, but names and shapes are read.
 * @throws ERR_FILE when there is none or its parts are missing, ERR_CONFIG and ERR_SHAPE when it is not what it should be,
 * ERR_ARGUMENT for options that a model folder has no use for
 */
export function findModel(nameOrPath: string, options: SourceOptions = {}): ModelSource {
  const isFile = statSync(nameOrPath, { throwIfNoEntry: false })?.isFile() ?? false
  // A file of a model folder stands for the whole, whose model.json says what its weights do not.
  const inFolder = isFile && existsSync(join(dirname(nameOrPath), 'model.json'))
  if (isFile && !inFolder) return checkpointSource(resolve(nameOrPath), options)
  const source = folderSource(inFolder ? resolve(dirname(nameOrPath)) : findModelFolder(nameOrPath))
  const given = Object.entries(options).find(([, value]) => value !== undefined)
  if (given)
    throw new StarError(
      'ERR_ARGUMENT',
      `"${given[0]}" was given for ${source.path}, which says it in its model.json: leave it out, or change it there`,
    )
  return source
}

/** The weights of one part, wherever they are, for a training to begin with. */
export interface PartWeights {
  /** By the names of the part's module. The caller disposes them. */
  weights: Weights
  /** Whether a tensor is one of the part's. */
  takes(name: string): boolean
  /** Options of the transformer, as far as the file says them. */
  told: Readonly<Record<string, unknown>>
}

/**
 * Finds the weights of a part in a model folder or in a published checkpoint (or one made from it); the tokenizer need not be
 * beside it.
 * @throws ERR_FILE when there are none
 */
export function openPart(nameOrPath: string, part: ModelPart): PartWeights {
  const takes = (name: string): boolean => !ignoredWeights[part].test(name)
  const isFile = statSync(nameOrPath, { throwIfNoEntry: false })?.isFile() ?? false
  if (!isFile || existsSync(join(dirname(nameOrPath), 'model.json'))) {
    const folder = isFile ? resolve(dirname(nameOrPath)) : findModelFolder(nameOrPath)
    const told = readModelConfig(folder).transformer ?? {}
    return { weights: openWeights(join(folder, `${part}.safetensors`)), takes, told }
  }
  using whole = openWeights(nameOrPath)
  const key = dictionaryOf(whole, marks[part], usualKeys[part])
  if (key === undefined)
    throw new StarError('ERR_FILE', `${nameOrPath} holds no weights of a ${part}: it has no ${marks[part]}`)
  const told = { crossAttention: crossAttentionOf(new Map([...whole.values, ...Object.entries(whole.metadata)])) }
  return { weights: openBelow(nameOrPath, key), takes, told }
}

/**
 * What the metadata of a converted checkpoint is to say, because its weights do not: scales, rotations and mode of
 * cross-attention of a published transformer. Empty for other weights.
 * @param key where the weights are in the checkpoint
 */
export function convertedMetadata(path: string, key?: string, options: ReleasedOptions = {}): Record<string, string> {
  using part = openWeights(path, { key })
  const given = Object.values(options).some((value) => value !== undefined)
  if (!isStarTransformer(shapesOf(part)) || (part.metadata.crossAttention && !given)) return {}
  using whole = openWeights(path)
  const values = new Map<string, unknown>([...whole.values, ...Object.entries(whole.metadata)])
  const scales = options.patchNums ?? scalesOf(values)
  const { ropeTheta, ropeNorm } = rotationsOf(values, options)
  return {
    crossAttention: options.crossAttention ?? part.metadata.crossAttention ?? 'first-sample',
    ...(scales && { patch_nums: scales.join(' ') }),
    ...(ropeTheta && { rope_theta: String(ropeTheta) }),
    ...(ropeNorm && { rope_norm: String(ropeNorm) }),
  }
}
