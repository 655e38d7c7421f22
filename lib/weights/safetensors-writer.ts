/** Writes the safetensors format, in one file or in shards as Hugging Face lays them out. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { StarError } from '../native/index.js'
import type { Tensor } from '../tensor/index.js'
import { weightsIn } from './folder-files.js'
import { elementSizes, elementTypes } from './stored-tensor.js'
import { byteSize, type WritableTensor, writables, writeParts, writePartsSync } from './writable.js'

/**
 * The bytes of a file. The header keeps the order given; the tensors are laid out widest type first, so that every one is
 * aligned.
 */
export function* safetensorsParts(
  tensors: readonly WritableTensor[],
  metadata: Readonly<Record<string, string>> = {},
): Generator<Uint8Array> {
  const layout = [...tensors].sort((a, b) => elementSizes[elementTypes[b.dtype]] - elementSizes[elementTypes[a.dtype]])
  const offsets = new Map<string, [number, number]>()
  let position = 0
  for (const tensor of layout) {
    offsets.set(tensor.name, [position, position + byteSize(tensor)])
    position += byteSize(tensor)
  }
  const header: Record<string, unknown> = Object.create(null)
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata
  for (const { name, dtype, shape } of tensors) {
    if (name === '__metadata__')
      throw new StarError('ERR_ARGUMENT', 'a tensor cannot be named "__metadata__" in a safetensors file')
    header[name] = { dtype: elementTypes[dtype], shape, data_offsets: offsets.get(name) }
  }
  const json = Buffer.from(JSON.stringify(header))
  const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ')
  padded.writeBigUInt64LE(BigInt(padded.length - 8))
  json.copy(padded, 8)
  yield padded
  for (const tensor of layout) yield tensor.read()
}

/**
 * Writes tensors (on any device) and metadata as a safetensors file. The file is written beside its place and renamed:
 * after an error nothing half-written is left and a file that was there before is unchanged.
 * @throws ERR_FILE when it cannot be written; ERR_ARGUMENT when a name is given twice
 */
export function writeSafetensors(
  file: string,
  tensors: Iterable<readonly [string, Tensor]>,
  metadata: Record<string, string> = {},
): void {
  writePartsSync(file, safetensorsParts(writables(tensors), metadata))
}

export interface ShardOptions {
  /** Most bytes of tensors in one file; a larger tensor has a file of its own. Default 5 GB, as Hugging Face has it. */
  shardBytes?: number
  metadata?: Readonly<Record<string, string>>
  signal?: AbortSignal
}

/** Tensors in order, cut where a shard would become too large. */
function cut(tensors: readonly WritableTensor[], shardBytes: number): WritableTensor[][] {
  const shards: WritableTensor[][] = [[]]
  let bytes = 0
  for (const tensor of tensors) {
    const size = byteSize(tensor)
    if (bytes + size > shardBytes && bytes > 0) {
      shards.push([])
      bytes = 0
    }
    shards[shards.length - 1].push(tensor)
    bytes += size
  }
  return shards
}

/**
 * Writes weights into a folder: `model.safetensors`, or `model-00001-of-0000N.safetensors` … with the index
 * `model.safetensors.index.json`, which is written last, so that a folder without one is not complete.
 * After an error none of its files is left.
 * @returns paths of the files
 * @throws ERR_FILE when the folder already holds weights, which the new ones would be mixed with, or cannot be written
 */
export async function writeShards(
  folder: string,
  tensors: readonly WritableTensor[],
  { shardBytes = 5e9, metadata, signal }: ShardOptions = {},
): Promise<string[]> {
  const old = weightsIn(folder)
  if (old !== undefined)
    throw new StarError('ERR_FILE', `the folder ${folder} already holds weights (${old}): remove them or name another`)
  const shards = cut(tensors, shardBytes)
  const number = (n: number): string => String(n).padStart(5, '0')
  const nameOf = (i: number): string =>
    shards.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`
  const files: string[] = []
  const write = async (name: string, parts: Iterable<Uint8Array>): Promise<void> => {
    await writeParts(join(folder, name), parts, signal)
    files.push(join(folder, name))
  }
  try {
    for (const [i, shard] of shards.entries()) await write(nameOf(i), safetensorsParts(shard, metadata))
    if (shards.length > 1) await write('model.safetensors.index.json', [indexOf(tensors, shards, nameOf)])
    return files
  } catch (error) {
    for (const file of files) rmSync(file, { force: true })
    throw error
  }
}

/** What `model.safetensors.index.json` holds: the file of each tensor. */
function indexOf(
  tensors: readonly WritableTensor[],
  shards: readonly (readonly WritableTensor[])[],
  nameOf: (i: number) => string,
): Buffer {
  const places = shards.flatMap((shard, i) => shard.map(({ name }) => [name, nameOf(i)] as const))
  const totalSize = tensors.reduce((n, tensor) => n + byteSize(tensor), 0)
  const index = { metadata: { total_size: totalSize }, weight_map: Object.fromEntries(places) }
  return Buffer.from(`${JSON.stringify(index, null, 2)}\n`)
}
