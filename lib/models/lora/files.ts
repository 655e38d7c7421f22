/**
 * LoRAs in files, in the layout of PEFT: a folder with
 *   adapter_model.safetensors  `base_model.model.NAME.lora_A.weight` (r, inputs) and `….lora_B.weight` (outputs, r) of each matrix
 *   adapter_config.json        rank, α, the matrices that are updated, the model that it belongs to
 * The metadata of the safetensors file hold that configuration too, a hash of the model's weights, and the sizes of the pictures that
 * it was trained on where these are not the model's own.
 */
import { createHash } from 'node:crypto'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { parseJson } from '../../config/json.js'
import { parseConfig, readConfigFile } from '../../config/parse-config.js'
import { quoted, StarError } from '../../native/index.js'
import { cast, scope, type Tensor } from '../../tensor/index.js'
import { openWeights, replaceFolder, writeSafetensors } from '../../weights/index.js'
import type { LoraShape } from './adapters.js'
import { type LoraTarget, loraTargets } from './targets.js'

const weightsFiles = ['adapter_model.safetensors', 'adapter_model.bin']
const configFile = 'adapter_config.json'

/** What is read of PEFT's configuration; what would change the update in ways not known here is refused. */
const adapterConfigSchema = z.looseObject({
  peft_type: z.literal('LORA', { error: 'expected "LORA": other kinds of adapters are not read' }),
  base_model_name_or_path: z.string().nullish(),
  lora_alpha: z.number(),
  use_rslora: z.boolean().default(false),
  use_dora: z.literal(false, { error: 'expected false: DoRA is not read' }).default(false),
  fan_in_fan_out: z.literal(false, { error: 'expected false' }).default(false),
  alpha_pattern: z
    .record(z.string(), z.unknown())
    .refine((pattern) => Object.keys(pattern).length === 0, {
      error: 'expected none: one alpha for all matrices is read',
    })
    .default({}),
})

/** Width and height of pictures. */
const picturesSchema = z.array(z.tuple([z.int().min(1), z.int().min(1)])).max(64)

/** What a LoRA was trained on. */
export interface LoraBase {
  /** Name, folder or file of the model; null where it does not say. */
  name: string | null
  /** `transformerHash` of its weights; null where it does not say. */
  hash: string | null
}

/** A LoRA whose header was read. */
export interface LoraFile {
  /** File of the weights. */
  path: string
  /** Of its folder, or of its file. */
  name: string
  alpha: number
  base: LoraBase
  /** Width and height of the pictures that it was trained on; none where it does not say: then they are those of its model. */
  pictures: readonly (readonly [number, number])[]
  /** Rank and scale of the update of each matrix, by the matrix's name. */
  shapes: ReadonlyMap<string, LoraShape & { inputs: number; outputs: number }>
  parameters: number
  bytes: number
  /** Its tensors by the names of `LoraAdapters`, on the CPU and checked to be numbers. The caller owns them. */
  tensors(): Map<string, Tensor>
}

const tensorName = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/

function weightsFileOf(path: string): string {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path
  const file = weightsFiles.map((name) => join(path, name)).find((candidate) => existsSync(candidate))
  if (file) return file
  throw new StarError(
    'ERR_FILE',
    `the folder ${path} holds no LoRA: expected ${weightsFiles[0]} in it, as "star train-lora" and PEFT write it`,
  )
}

/** Whether a path is that of a LoRA. */
export function isLora(path: string): boolean {
  const folder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? path : dirname(path)
  return existsSync(join(folder, configFile)) && (folder === path || weightsFiles.includes(basename(path)))
}

function readAdapterConfig(file: string, metadata: Readonly<Record<string, string>>) {
  const beside = join(dirname(file), configFile)
  if (weightsFiles.includes(basename(file)) && existsSync(beside)) return readConfigFile(adapterConfigSchema, beside)
  const source = `"adapter_config" in ${file}`
  if (metadata.adapter_config !== undefined)
    return parseConfig(adapterConfigSchema, parseJson(metadata.adapter_config, source), source)
  throw new StarError(
    'ERR_FILE',
    `${file} does not say its alpha: put its ${configFile} beside it and name it ${weightsFiles[0]}, as PEFT writes both`,
  )
}

/**
 * Reads the header of a LoRA.
 * @param path its folder, or its file of weights
 * @throws ERR_FILE where it is missing, damaged or no LoRA, ERR_CONFIG for a configuration that is not known
 */
export function openLora(path: string): LoraFile {
  const file = weightsFileOf(path)
  using weights = openWeights(file)
  const found = new Map<string, Partial<Record<'A' | 'B', readonly number[]>>>()
  for (const { name, shape } of weights.entries) {
    const [, layer, letter] = tensorName.exec(name) ?? []
    if (layer === undefined || shape.length !== 2)
      throw new StarError(
        'ERR_FILE',
        `${file} is no LoRA in PEFT's layout: it holds ${quoted(name)} (${shape.join(', ')}), expected matrices base_model.model.NAME.lora_A.weight and lora_B.weight`,
      )
    found.set(layer, { ...found.get(layer), [letter]: shape })
  }
  if (found.size === 0) throw new StarError('ERR_FILE', `${file} is no LoRA: it holds no tensors`)
  const config = readAdapterConfig(file, weights.metadata)
  const shapes: LoraFile['shapes'] = new Map(
    Array.from(found, ([layer, { A: a, B: b }]) => {
      if (!a || !b || a[0] !== b[1] || a[0] === 0)
        throw new StarError(
          'ERR_FILE',
          `${file}: the matrices of ${quoted(layer)} are (${a?.join(', ') ?? 'missing'}) and (${b?.join(', ') ?? 'missing'}), expected (r, inputs) and (outputs, r)`,
        )
      const [rank, inputs] = a
      const scale = config.lora_alpha / (config.use_rslora ? Math.sqrt(rank) : rank)
      return [layer, { rank, scale, inputs, outputs: b[0] }]
    }),
  )
  const parameters = Array.from(shapes.values(), ({ rank, inputs, outputs }) => rank * (inputs + outputs))
  return {
    path: resolve(file),
    name: weightsFiles.includes(basename(file)) ? nameOf(dirname(resolve(file))) : basename(file),
    alpha: config.lora_alpha,
    base: { name: config.base_model_name_or_path ?? null, hash: weights.metadata.base_transformer ?? null },
    pictures: picturesOf(file, weights.metadata),
    shapes,
    parameters: parameters.reduce((sum, count) => sum + count, 0),
    bytes: statSync(file).size,
    tensors: () => readTensors(file),
  }
}

/** @throws ERR_CONFIG where they are no sizes */
function picturesOf(file: string, { pictures }: Readonly<Record<string, string>>): LoraFile['pictures'] {
  const source = `"pictures" in ${file}`
  return pictures === undefined ? [] : parseConfig(picturesSchema, parseJson(pictures, source), source)
}

/** A run's `model` folder is called after the run. */
const nameOf = (folder: string): string => basename(basename(folder) === 'model' ? dirname(folder) : folder)

function readTensors(file: string): Map<string, Tensor> {
  using weights = openWeights(file, { key: 'base_model.model' })
  const tensors = weights.tensors()
  for (const [name, tensor] of tensors) {
    const finite = scope(() => cast(tensor, 'f32').floats()).every(Number.isFinite)
    if (finite) continue
    for (const one of tensors.values()) one.dispose()
    throw new StarError(
      'ERR_FILE',
      `${file}: ${name} holds values that are no numbers: train it again, or take another`,
    )
  }
  return tensors
}

/** SHA-256, in hexadecimal, over the tensors of a LoRA and what they are scaled by. @throws ERR_FILE as `tensors` */
export function loraHash(lora: LoraFile): string {
  const hash = createHash('sha256')
  const tensors = lora.tensors()
  for (const name of [...tensors.keys()].sort()) {
    const tensor = tensors.get(name)!
    const scale = lora.shapes.get(name.replace(/\.lora_[AB]\.weight$/, ''))!.scale
    hash
      .update(`${name} ${tensor.dtype} ${tensor.shape.join()} ${scale}\0`)
      .update(new Uint8Array(tensor.handle.read()))
    tensor.dispose()
  }
  return hash.digest('hex')
}

export interface LoraContent {
  /** By the names of `LoraAdapters`, in f32. */
  tensors: Iterable<{ name: string; tensor: Tensor }>
  rank: number
  alpha: number
  targets: readonly LoraTarget[]
  base: { name: string; hash: string }
  /** Width and height of the pictures that it was trained on, where these are not the model's own. */
  pictures?: readonly (readonly [number, number])[]
}

/** Writes the folder of a LoRA, whole or not at all, as `replaceFolder`. @throws ERR_FILE when it cannot be written */
export function writeLora(folder: string, { tensors, rank, alpha, targets, base, pictures }: LoraContent): void {
  const config = {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: base.name,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: targets.flatMap((target) => [...loraTargets[target]]),
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    modules_to_save: null,
  }
  const metadata = {
    format: 'pt',
    adapter_config: JSON.stringify(config),
    base_transformer: base.hash,
    ...(pictures && { pictures: JSON.stringify(pictures) }),
  }
  const named = Array.from(tensors, ({ name, tensor }): [string, Tensor] => [`base_model.model.${name}`, tensor])
  replaceFolder(folder, (beside) => {
    writeSafetensors(join(beside, weightsFiles[0]), named, metadata)
    writeFileSync(join(beside, configFile), `${JSON.stringify(config, null, 2)}\n`)
  })
}
