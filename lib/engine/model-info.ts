/** What a model is, read from its configuration and the headers of its files without loading weights. */

import { parseConfig } from '../config/parse-config.js'
import { findModel, type ModelSource, partEntries, type SourceOptions } from '../models/source.js'
import type { StarConfig } from '../models/star/index.js'
import { imageSide, type TokenizerConfig, tokenCount } from '../models/tokenizer/index.js'
import { type SamplingOptions, samplingSchema } from '../sampling/index.js'
import type { ModelPart } from '../weights/index.js'

export interface PartInfo {
  /** Number of stored values. */
  parameters: number
  bytes: number
}

export interface ModelInfo {
  name: string
  /** Model folder or checkpoint file. */
  path: string
  /** Width and height of the pictures in pixels. */
  imageSize: number
  /** Sides of the token maps, coarse to fine. */
  scales: readonly number[]
  tokens: number
  /** Name or folder of the text encoder; null where there is only a tokenizer, or a checkpoint does not say. */
  textEncoder: string | null
  /** Whose text a sample attends to. */
  crossAttention: StarConfig['crossAttention'] | null
  sampling: SamplingOptions
  /** Weights that its training began with; null where they were drawn at random, or nothing says so. */
  startedFrom: string | null
  tokenizer: PartInfo & { config: TokenizerConfig }
  transformer: (PartInfo & { config: StarConfig }) | null
  /** Stable sampling is possible. */
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
  parseConfig(samplingSchema, source.sampling, `"sampling" of ${path}`)
  return {
    name,
    path,
    imageSize: imageSide(tokenizer),
    scales: tokenizer.patchNums,
    tokens: tokenCount(tokenizer),
    textEncoder,
    crossAttention: transformer?.crossAttention ?? null,
    sampling: source.sampling as SamplingOptions,
    startedFrom: source.startedFrom,
    tokenizer: { ...partInfo(source, 'tokenizer'), config: tokenizer },
    transformer: transformer && { ...partInfo(source, 'transformer'), config: transformer },
    samplerHead: source.samplerHead ? partInfo(source, 'sampler-head') : null,
  }
}

/**
 * Describes a shipped model, a model folder or a checkpoint.
 * @throws ERR_FILE when it is missing or damaged, ERR_CONFIG and ERR_SHAPE when its parts are not what they should be
 */
export function modelInfo(nameOrPath: string, options: SourceOptions = {}): ModelInfo {
  return describeSource(findModel(nameOrPath, options))
}
