/** Weights by name, whatever file they are in: safetensors, in one file or in shards, or a PyTorch checkpoint. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { nearest } from '../config/nearest.js'
import { readConfigFile } from '../config/parse-config.js'
import { fileError } from '../native/files.js'
import { type NativeTensor, native, plain, quoted, StarError } from '../native/index.js'
import type { PickleKey } from '../pickle/index.js'
import type { Tensor } from '../tensor/index.js'
import { folderFiles, weightsIn } from './folder-files.js'
import { looksLikeTorch } from './pytorch.js'
import { openSafetensors } from './safetensors.js'
import { openStateDict } from './state-dict.js'
import { readStored, type StoredTensor } from './stored-tensor.js'

export interface OpenWeightsOptions {
  /** Takes only what lies below this name, and drops it from the names: `trainer.var_wo_ddp`. */
  key?: string
}

interface Opened {
  format: WeightsFormat
  maps: NativeTensor[]
  tensors: StoredTensor[]
  metadata: Record<string, string>
  values: ReadonlyMap<string, PickleKey>
}

export type WeightsFormat = 'safetensors' | 'pytorch'

/** An open file of weights. Tensors are read when they are asked for; dispose closes the file, not the tensors. */
export class Weights {
  readonly #maps: NativeTensor[]
  readonly #stored: ReadonlyMap<string, StoredTensor>

  constructor(
    readonly path: string,
    readonly format: WeightsFormat,
    /** Metadata of safetensors; empty otherwise. */
    readonly metadata: Readonly<Record<string, string>>,
    /** Numbers and texts that a PyTorch checkpoint holds beside tensors, by name. */
    readonly values: ReadonlyMap<string, PickleKey>,
    stored: readonly StoredTensor[],
    maps: NativeTensor[],
  ) {
    this.#maps = maps
    this.#stored = new Map(stored.map((entry) => [entry.name, entry]))
  }

  /** Names in the order of the file. */
  get names(): string[] {
    return [...this.#stored.keys()]
  }

  /** Type and shape of every tensor, without reading any. */
  get entries(): Iterable<Pick<StoredTensor, 'name' | 'dtype' | 'shape'>> {
    return this.#stored.values()
  }

  /** One tensor, which the caller owns. @throws ERR_FILE with the nearest name when there is none */
  tensor(name: string, device = 'cpu'): Tensor {
    const stored = this.#stored.get(name)
    if (!stored) {
      const guess = nearest(name, this.names)
      throw new StarError(
        'ERR_FILE',
        `${this.path} holds no tensor "${name}"${guess === undefined ? '' : `, did you mean ${quoted(guess)}?`} (it holds ${this.#stored.size})`,
      )
    }
    return readStored(stored, device)
  }

  /** All tensors, or those whose name passes; the caller owns them. */
  tensors(options: { device?: string; filter?: (name: string) => boolean } = {}): Map<string, Tensor> {
    const tensors = new Map<string, Tensor>()
    try {
      for (const name of this.names)
        if (options.filter?.(name) ?? true) tensors.set(name, this.tensor(name, options.device))
    } catch (error) {
      for (const tensor of tensors.values()) tensor.dispose()
      throw error
    }
    return tensors
  }

  /**
   * Gives back the memory that a tensor of this file takes, where it is the file itself, mapped: for one that was copied and is
   * not needed any more. What was written to it is lost.
   */
  drop(tensor: Tensor): void {
    native.dropPages(tensor.handle)
  }

  dispose(): void {
    for (const map of this.#maps.splice(0)) map.release()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

function headOf(file: string): Uint8Array {
  try {
    const fd = openSync(file, 'r')
    try {
      const head = new Uint8Array(4)
      return head.subarray(0, readSync(fd, head))
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw fileError('read', file, error)
  }
}

/** Endings that PyTorch checkpoints alone have. */
const torchNames = /\.(pth|pt|ckpt)$/i

/** What does not begin as a PyTorch checkpoint is taken for safetensors, whatever its name; the name decides what an error calls it. */
function openUnmarked(file: string): ReturnType<typeof openSafetensors> {
  try {
    return openSafetensors(file)
  } catch (cause) {
    if (!torchNames.test(file) || !(cause instanceof StarError) || cause.code !== 'ERR_FILE') throw cause
    throw new StarError(
      'ERR_FILE',
      `${file} is no PyTorch checkpoint: it begins neither as a zip archive nor as a pickle. Download or copy it again`,
      { cause },
    )
  }
}

function openFile(file: string): Opened {
  if (looksLikeTorch(headOf(file))) {
    const { map, tensors, values } = openStateDict(file)
    return { format: 'pytorch', maps: [map], tensors, metadata: {}, values }
  }
  const { map, stored, metadata } = openUnmarked(file)
  return { format: 'safetensors', maps: [map], tensors: stored, metadata, values: new Map() }
}

/** What both kinds of index hold: which file each tensor is in. */
const indexSchema = z.object({ weight_map: z.record(z.string(), z.string().min(1)) })

function openShards(index: string): Opened {
  const { weight_map: places } = readConfigFile(indexSchema, index)
  const opened: Opened = { format: 'safetensors', maps: [], tensors: [], metadata: {}, values: new Map() }
  try {
    const byName = new Map<string, StoredTensor>()
    for (const file of new Set(Object.values(places))) {
      if (file !== basename(file) || file === '..')
        throw new StarError('ERR_FILE', `${index} names the file ${quoted(file)}, expected one beside it`)
      const shard = openFile(join(dirname(index), file))
      opened.maps.push(...shard.maps)
      opened.format = shard.format
      for (const stored of shard.tensors) if (places[stored.name] === file) byName.set(stored.name, stored)
    }
    for (const [name, file] of Object.entries(places)) {
      const stored = byName.get(name)
      if (!stored)
        throw new StarError(
          'ERR_FILE',
          `${index} says that ${plain(file)} holds the tensor ${quoted(name)}, but it does not. Download both again`,
        )
      opened.tensors.push(stored)
    }
    return opened
  } catch (error) {
    for (const map of opened.maps) map.release()
    throw error
  }
}

function fileOf(path: string): string {
  let isFolder: boolean
  try {
    isFolder = statSync(path).isDirectory()
  } catch (error) {
    throw fileError('read', path, error)
  }
  if (!isFolder) return path
  const name = weightsIn(path)
  if (name === undefined)
    throw new StarError('ERR_FILE', `the folder ${path} holds no weights: expected one of ${folderFiles.join(', ')}`)
  return join(path, name)
}

/** What lies below `key`, by the rest of its name. */
function below<T>(key: string, entries: Iterable<readonly [string, T]>): [string, T][] {
  const prefix = `${key}.`
  return [...entries].flatMap(([name, value]): [string, T][] =>
    name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
  )
}

/** The names of dictionaries that hold tensors, directly or deeper. */
function dictionaries(names: Iterable<string>): Set<string> {
  const found = new Set<string>()
  for (const name of names)
    for (let at = name.indexOf('.'); at > 0; at = name.indexOf('.', at + 1)) found.add(name.slice(0, at))
  return found
}

function select(path: string, opened: Opened, key: string): Opened {
  const tensors = below(
    key,
    opened.tensors.map((stored) => [stored.name, stored] as const),
  ).map(([name, stored]) => ({ ...stored, name }))
  if (tensors.length === 0) {
    const known = dictionaries(opened.tensors.map(({ name }) => name))
    const guess = nearest(key, known)
    throw new StarError(
      'ERR_FILE',
      `${path} holds no tensors below "${key}"${guess === undefined ? '' : `, did you mean ${quoted(guess)}?`} ` +
        `At the top it has ${[...new Set(opened.tensors.map(({ name }) => plain(name.split('.')[0])))].slice(0, 10).join(', ') || 'no tensors'}`,
    )
  }
  return { ...opened, tensors, values: new Map(below(key, opened.values)) }
}

/**
 * Opens weights by the path of a safetensors file, a PyTorch checkpoint (zip or the form before 1.6), an index of shards
 * (`….index.json`) or a folder that holds one of them under its usual name. The content decides, not the name. Nested
 * dictionaries of a checkpoint are flattened with dots: `trainer.var_wo_ddp.pos_start`.
 * @throws ERR_FILE when it is missing, damaged, or holds what weights do not need; ERR_CONFIG for an index that is none
 */
export function openWeights(path: string, options: OpenWeightsOptions = {}): Weights {
  const file = fileOf(path)
  let opened = file.endsWith('.index.json') ? openShards(file) : openFile(file)
  try {
    if (options.key !== undefined) opened = select(file, opened, options.key)
    const { format, metadata, values, tensors, maps } = opened
    return new Weights(file, format, metadata, values, tensors, maps)
  } catch (error) {
    for (const map of opened.maps) map.release()
    throw error
  }
}
