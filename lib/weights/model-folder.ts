/**
 * A model on disk: one folder with
 *   model.json                name, configurations, text encoder, sampling defaults
 *   tokenizer.safetensors     weights of the image tokenizer
 *   transformer.safetensors   weights of the transformer (absent in a folder that holds only a tokenizer)
 *   sampler-head.safetensors  weights of the sampler head (optional)
 *   README.md                 model card (optional)
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { nearest } from '../config/nearest.js'
import { readConfigFile } from '../config/parse-config.js'
import { packageRoot, StarError } from '../native/index.js'
import { Tensor } from '../tensor/index.js'
import { replaceFolder } from './replace-folder.js'
import { writeSafetensors } from './safetensors-writer.js'

export const modelFormat = 'star-model-1'

const jsonObject = z.record(z.string(), z.unknown())

/** model.json. The configurations inside are checked by the models they belong to. */
export const modelConfigSchema = z.strictObject({
  format: z.literal(modelFormat),
  name: z.string().min(1),
  /** Constructor options of the tokenizer. */
  tokenizer: jsonObject,
  /** Constructor options of the transformer; its `crossAttention` says which mode is in force. */
  transformer: jsonObject.optional(),
  /** Name of the text encoder whose states the transformer was trained on. */
  textEncoder: z.string().min(1).optional(),
  /** Sampling settings to use where the caller names none. */
  sampling: jsonObject.optional(),
  /** What the presets `fast` and `turbo` leave out, where that differs from the rule for all models. */
  speeds: jsonObject.optional(),
  /** Weights that its training began with; absent where they were drawn at random. */
  startedFrom: z.string().min(1).optional(),
  /** Width and height of the pictures that it was trained on; absent where that is the square of the tokenizer's scales. */
  shapes: z
    .array(z.tuple([z.int().min(1), z.int().min(1)]))
    .min(1)
    .optional(),
})
export type ModelConfig = z.output<typeof modelConfigSchema>
export type ModelPart = 'tokenizer' | 'transformer' | 'sampler-head'

const configFile = 'model.json'
const weightsFile = (part: ModelPart): string => `${part}.safetensors`

/** Names of the models that come with the package, with the folder of each. */
export function shippedModels(): Map<string, string> {
  const root = join(packageRoot, 'models')
  const names = existsSync(root) ? readdirSync(root).sort() : []
  return new Map(
    names.map((name) => [name, join(root, name)] as const).filter(([, folder]) => existsSync(join(folder, configFile))),
  )
}

/**
 * The folder of a model named by a user: a shipped model's name or the path of a model folder.
 * @throws ERR_FILE with the shipped models when it is neither
 */
export function findModelFolder(nameOrFolder: string): string {
  const shipped = shippedModels()
  const own = shipped.get(nameOrFolder)
  if (own) return own
  if (existsSync(join(nameOrFolder, configFile))) return resolve(nameOrFolder)
  if (existsSync(join(nameOrFolder, 'adapter_config.json')))
    throw new StarError(
      'ERR_FILE',
      `${nameOrFolder} is a LoRA, which draws with the model it was trained on: name that model, and give this one as its LoRA (lora, --lora), or make one model of both (star lora merge)`,
    )
  const names = [...shipped.keys()]
  const isFolder = existsSync(nameOrFolder)
  const isPath = isFolder || /[\\/.]/.test(nameOrFolder)
  const guess = isPath ? undefined : nearest(nameOrFolder, names)
  throw new StarError(
    'ERR_FILE',
    `${isFolder ? `the folder "${nameOrFolder}" holds no ${configFile}` : `there is no model, folder or file "${nameOrFolder}"`}` +
      `${guess ? `, did you mean "${guess}"?` : '.'} Give the path of a model folder or a checkpoint, or a shipped model: ${names.join(', ') || 'none is shipped'}`,
  )
}

/** Reads model.json. @throws ERR_FILE when it is missing, ERR_CONFIG when it is not what it should be */
export function readModelConfig(folder: string): ModelConfig {
  return readConfigFile(modelConfigSchema, join(folder, configFile))
}

/** Anything with named tensors; every Module is. */
export interface NamedTensors {
  namedTensors(): Iterable<{ name: string; tensor: Tensor }>
}

export interface ModelFolderContent {
  config: Omit<ModelConfig, 'format'>
  tokenizer: NamedTensors
  transformer?: NamedTensors
  samplerHead?: NamedTensors
  /** Text of README.md. */
  card?: string
  /** f16 halves the files; weights are widened to f32 again when they are loaded. Default f32. */
  dtype?: 'f32' | 'f16'
}

function writeWeights(file: string, module: NamedTensors, dtype: 'f32' | 'f16'): void {
  const copies: Tensor[] = []
  try {
    const tensors = [...module.namedTensors()].map(({ name, tensor }): [string, Tensor] => {
      if (tensor.dtype !== 'f32' || dtype === 'f32') return [name, tensor]
      const copy = Tensor.empty(tensor.shape, { dtype, device: tensor.device })
      copies.push(copy)
      copy.copyFrom(tensor)
      return [name, copy]
    })
    writeSafetensors(file, tensors)
  } finally {
    for (const copy of copies) copy.dispose()
  }
}

/** Writes a model folder, whole or not at all, as `replaceFolder`. @throws ERR_FILE when it cannot be written */
export function writeModelFolder(
  folder: string,
  { config, tokenizer, transformer, samplerHead, card, dtype = 'f32' }: ModelFolderContent,
): void {
  replaceFolder(folder, (beside) => {
    writeFileSync(join(beside, configFile), `${JSON.stringify({ format: modelFormat, ...config }, null, 2)}\n`)
    writeWeights(join(beside, weightsFile('tokenizer')), tokenizer, dtype)
    if (transformer) writeWeights(join(beside, weightsFile('transformer')), transformer, dtype)
    if (samplerHead) writeWeights(join(beside, weightsFile('sampler-head')), samplerHead, dtype)
    if (card !== undefined) writeFileSync(join(beside, 'README.md'), card)
  })
}
