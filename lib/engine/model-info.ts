/** What a model is, read from its configuration and the headers of its files without loading weights. */

import { parseConfig } from '../config/parse-config.js'
import { isLora, openLora } from '../models/lora/index.js'
import { findModel, type ModelSource, partEntries, type SourceOptions } from '../models/source.js'
import type { StarConfig } from '../models/star/index.js'
import { imageSide, type TokenizerConfig, tokenCount } from '../models/tokenizer/index.js'
import {
  type PictureSize,
  type SamplingOptions,
  type Speeds,
  samplingSchema,
  speedsOf,
  speedsSchema,
} from '../sampling/index.js'
import type { ModelPart } from '../weights/index.js'

/** Sizes of one part of a model. */
export interface PartInfo {
  /** Number of stored values. */
  parameters: number
  /** Their size in the files. */
  bytes: number
}

/** A part with the configuration that fixes its shapes. */
export interface ConfiguredPart<Config> extends PartInfo {
  /** Sizes and options of the part. */
  config: Config
}

/** What a model is. */
export interface ModelInfo {
  /** Name in its configuration, or that of its file. */
  name: string
  /** Model folder or checkpoint file. */
  path: string
  /** Width and height of the pictures in pixels, where a caller names no size. */
  imageSize: number
  /** Sizes of the pictures that it was trained on. */
  shapes: readonly PictureSize[]
  /** Sides of the token maps, coarse to fine. */
  scales: readonly number[]
  /** Number of tokens of a picture, over all scales. */
  tokens: number
  /** Name or folder of the text encoder; null where there is only a tokenizer, or a checkpoint does not say. */
  textEncoder: string | null
  /** Whose text a sample attends to. */
  crossAttention: StarConfig['crossAttention'] | null
  /** Settings that it is drawn with where a caller names none. */
  sampling: SamplingOptions
  /** What the presets of `speed` leave out. */
  speeds: Speeds
  /** Weights that its training began with; null where they were drawn at random, or nothing says so. */
  startedFrom: string | null
  /** The part that turns tokens into pixels and back. */
  tokenizer: ConfiguredPart<TokenizerConfig>
  /** The part that draws tokens for a prompt; null where there is only a tokenizer. */
  transformer: ConfiguredPart<StarConfig> | null
  /** The part for stable sampling; null where there is none. */
  samplerHead: PartInfo | null
}

function partInfo(source: ModelSource, part: ModelPart): PartInfo {
  const info: PartInfo = { parameters: 0, bytes: 0 }
  for (const { count, bytes } of partEntries(source, part)) {
    info.parameters += count
    info.bytes += bytes
  }
  return info
}

/** Describes a model that was found. @throws ERR_CONFIG for sampling settings that do not fit, ERR_FILE for damaged weights */
export function describeSource(source: ModelSource): ModelInfo {
  const { name, path, tokenizer, transformer, textEncoder } = source
  const side = imageSide(tokenizer)
  parseConfig(samplingSchema, source.sampling, `"sampling" of ${path}`)
  const speeds = parseConfig(speedsSchema, source.speeds, `"speeds" of ${path}`)
  return {
    name,
    path,
    imageSize: side,
    shapes: (source.shapes ?? [[side, side]]).map(([width, height]) => ({ width, height })),
    scales: tokenizer.patchNums,
    tokens: tokenCount(tokenizer),
    textEncoder,
    crossAttention: transformer?.crossAttention ?? null,
    sampling: source.sampling as SamplingOptions,
    speeds: speedsOf(tokenizer.patchNums.length, speeds),
    startedFrom: source.startedFrom,
    tokenizer: { ...partInfo(source, 'tokenizer'), config: tokenizer },
    transformer: transformer && { ...partInfo(source, 'transformer'), config: transformer },
    samplerHead: source.samplerHead ? partInfo(source, 'sampler-head') : null,
  }
}

/**
 * Describes a shipped model, a model folder or a checkpoint; of a LoRA the model that it was trained on.
 * @throws ERR_FILE when it is missing or damaged, ERR_CONFIG and ERR_SHAPE when its parts are not what they should be
 */
export function modelInfo(nameOrPath: string, options: SourceOptions = {}): ModelInfo {
  const base = isLora(nameOrPath) ? openLora(nameOrPath).base.name : null
  return describeSource(findModel(base ?? nameOrPath, options))
}
