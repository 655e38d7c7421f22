/** What a model folder holds, read from its configuration and file headers without loading weights. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import {
  findModelFolder,
  type ModelConfig,
  type ModelPart,
  readModelConfig,
  readSafetensorsHeader,
} from './checkpoint/index.js'
import { parseConfig } from './config/parse-config.js'
import { type StarConfig, starConfigSchema } from './models/star/index.js'
import { imageSide, type TokenizerConfig, tokenizerSchema } from './models/tokenizer/index.js'
import { type SamplingOptions, samplingSchema } from './sampling/index.js'

export interface PartInfo {
  /** Number of stored values. */
  parameters: number
  bytes: number
}

export interface ModelInfo {
  name: string
  folder: string
  /** Width and height of the pictures in pixels. */
  imageSize: number
  /** Sides of the token maps, coarse to fine. */
  scales: readonly number[]
  tokens: number
  /** Name of the text encoder; null in a folder that holds only a tokenizer. */
  textEncoder: string | null
  /** Whose text a sample attends to. */
  crossAttention: StarConfig['crossAttention'] | null
  sampling: SamplingOptions
  tokenizer: PartInfo & { config: TokenizerConfig }
  transformer: (PartInfo & { config: StarConfig }) | null
}

/** Configuration of a model folder with its parts checked. */
export interface CheckedModel {
  folder: string
  config: ModelConfig
  tokenizer: TokenizerConfig
  transformer: StarConfig | null
  sampling: SamplingOptions
}

/**
 * Finds a model by name or folder and checks its configuration.
 * @throws ERR_FILE when there is none, ERR_CONFIG when model.json does not fit
 */
export function checkModel(nameOrFolder: string): CheckedModel {
  const folder = findModelFolder(nameOrFolder)
  const config = readModelConfig(folder)
  const file = join(folder, 'model.json')
  const sampling = config.sampling ?? {}
  parseConfig(samplingSchema, sampling, `"sampling" of ${file}`)
  return {
    folder,
    config,
    tokenizer: parseConfig(tokenizerSchema, config.tokenizer, `"tokenizer" of ${file}`),
    transformer: config.transformer
      ? parseConfig(starConfigSchema, config.transformer, `"transformer" of ${file}`)
      : null,
    sampling: sampling as SamplingOptions,
  }
}

function partInfo(folder: string, part: ModelPart): PartInfo {
  const file = join(folder, `${part}.safetensors`)
  const { entries } = readSafetensorsHeader(file)
  const parameters = entries.reduce((n, entry) => n + entry.shape.reduce((m, d) => m * d, 1), 0)
  return { parameters, bytes: statSync(file).size }
}

/** Describes a model. @throws ERR_FILE and ERR_CONFIG as `checkModel`; ERR_FILE when weights are missing or damaged */
export function modelInfo(nameOrFolder: string): ModelInfo {
  const { folder, config, tokenizer, transformer, sampling } = checkModel(nameOrFolder)
  return {
    name: config.name,
    folder,
    imageSize: imageSide(tokenizer),
    scales: tokenizer.patchNums,
    tokens: tokenizer.patchNums.reduce((n, p) => n + p * p, 0),
    textEncoder: config.textEncoder ?? null,
    crossAttention: transformer?.crossAttention ?? null,
    sampling,
    tokenizer: { ...partInfo(folder, 'tokenizer'), config: tokenizer },
    transformer: transformer && { ...partInfo(folder, 'transformer'), config: transformer },
  }
}
