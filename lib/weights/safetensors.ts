/**
 * The safetensors format: 8 bytes little-endian header length, a JSON header { name: { dtype, shape, data_offsets } } with
 * strings under `__metadata__`, then the tensors' bytes, row-major, without holes.
 */

import { type NativeTensor, native, plain, quoted, StarError } from '../native/index.js'
import type { Tensor } from '../tensor/index.js'
import {
  bytesOf,
  type ElementType,
  elementSizes,
  isElementType,
  maxRank,
  readStored,
  type StoredTensor,
} from './stored-tensor.js'

export interface SafetensorsOptions {
  /** Device the tensors go to. On `cpu` (the default) they stay in the mapped file. */
  device?: string
  /** Reads only the tensors whose name passes. */
  filter?: (name: string) => boolean
}

export interface SafetensorsFile {
  /** In the order of the header. */
  tensors: Map<string, Tensor>
  metadata: Record<string, string>
}

export interface TensorEntry {
  name: string
  dtype: ElementType
  shape: number[]
  /** First byte and the byte after the last, from the start of the file. */
  begin: number
  end: number
}

const maxHeader = 100_000_000

function damaged(file: string, detail: string): StarError {
  return new StarError('ERR_FILE', `${file} is not a valid safetensors file: ${detail}. Download or write it again`)
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

function parseEntry(file: string, name: string, value: unknown, dataStart: number, fileSize: number): TensorEntry {
  const where = `tensor ${quoted(name)}`
  if (typeof value !== 'object' || value === null) throw damaged(file, `${where} has no description`)
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>
  if (typeof dtype !== 'string') throw damaged(file, `${where} has no dtype`)
  if (!isElementType(dtype))
    throw new StarError(
      'ERR_FILE',
      `${file}: ${where} has dtype ${plain(dtype)}, which cannot be read (known: ${Object.keys(elementSizes).join(', ')}). Convert it to F32 first`,
    )
  if (!Array.isArray(shape) || !shape.every(isWhole))
    throw damaged(file, `the shape of ${where} is not a list of whole numbers`)
  if (shape.length > maxRank)
    throw new StarError('ERR_FILE', `${file}: ${where} has ${shape.length} dimensions, at most ${maxRank} can be read`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isWhole))
    throw damaged(file, `${where} has no pair of data offsets`)
  const [begin, end] = offsets as [number, number]
  if (end < begin) throw damaged(file, `${where} ends at byte ${end}, before its begin ${begin}`)
  if (dataStart + end > fileSize)
    throw damaged(
      file,
      `${where} ends at byte ${dataStart + end}, but the file has ${fileSize} bytes, so it was cut off`,
    )
  const bytes = (shape as number[]).reduce((n, d) => n * d, elementSizes[dtype])
  if (bytes !== end - begin)
    throw damaged(
      file,
      `${where} of shape (${shape.join(', ')}) and dtype ${dtype} takes ${bytes} bytes, its offsets hold ${end - begin}`,
    )
  return { name, dtype, shape: shape as number[], begin: dataStart + begin, end: dataStart + end }
}

/**
 * A key that stands twice in one object of a JSON text, of which JSON.parse keeps the last: other readers may take the first, so
 * that one file would hold two models. The text is valid JSON.
 */
function repeatedKey(text: string): string | undefined {
  // A key is a text before a colon. Keys that JSON.parse reads as one may be written in several ways.
  const open: Set<string>[] = []
  for (const [token, key] of text.matchAll(/("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === '{') open.push(new Set())
    else if (token === '}') open.pop()
    else if (key !== undefined) {
      const name = JSON.parse(key) as string
      const keys = open[open.length - 1]
      if (keys.has(name)) return name
      keys.add(name)
    }
  }
  return undefined
}

interface Header {
  entries: TensorEntry[]
  metadata: Record<string, string>
}

function parseHeader(file: string, header: Uint8Array, fileSize: number): Header {
  const dataStart = 8 + header.length
  let parsed: unknown
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(header)
    parsed = JSON.parse(text)
  } catch (error) {
    throw damaged(file, `its header is not JSON (${plain((error as Error).message)})`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw damaged(file, 'its header is not a JSON object')
  const twice = repeatedKey(text)
  if (twice !== undefined) throw damaged(file, `its header has the key ${quoted(twice)} twice in one object`)
  const metadata: Record<string, string> = {}
  const entries: TensorEntry[] = []
  for (const [name, value] of Object.entries(parsed)) {
    if (name !== '__metadata__') {
      entries.push(parseEntry(file, name, value, dataStart, fileSize))
      continue
    }
    if (typeof value !== 'object' || value === null) throw damaged(file, '__metadata__ is not an object of strings')
    for (const [key, text] of Object.entries(value)) {
      if (typeof text !== 'string') throw damaged(file, `the metadata ${quoted(key)} is not a string`)
      Object.defineProperty(metadata, key, { value: text, enumerable: true, writable: true, configurable: true })
    }
  }
  let position = dataStart
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin < position) throw damaged(file, `tensor ${quoted(entry.name)} overlaps the one before it`)
    if (entry.begin > position)
      throw damaged(file, `${entry.begin - position} bytes before tensor ${quoted(entry.name)} belong to no tensor`)
    position = entry.end
  }
  if (position !== fileSize) throw damaged(file, `${fileSize - position} bytes at its end belong to no tensor`)
  return { entries, metadata }
}

/** A safetensors file with its header checked: the tensors it holds, not read yet. The caller releases the map. */
export function openSafetensors(file: string): {
  map: NativeTensor
  stored: StoredTensor[]
  metadata: Record<string, string>
} {
  const map = native.mapFile(file)
  try {
    const { entries, metadata } = readHeader(file, map)
    return { map, metadata, stored: entries.map((entry) => ({ ...entry, file, map, strides: null })) }
  } catch (error) {
    map.release()
    throw error
  }
}

function readHeader(file: string, map: NativeTensor): Header {
  const size = map.shape()[0]
  if (size < 8) throw damaged(file, `it has ${size} bytes, less than the 8 of the header's length`)
  const [low, high] = new Uint32Array(bytesOf(map, 0, 8))
  const length = high * 2 ** 32 + low
  if (length > maxHeader)
    throw damaged(file, `its header would take ${length} bytes, more than the ${maxHeader} allowed`)
  if (8 + length > size)
    throw damaged(file, `its header would end at byte ${8 + length}, but the file has ${size} bytes, so it was cut off`)
  return parseHeader(file, new Uint8Array(bytesOf(map, 8, 8 + length)), size)
}

/** Names, types, shapes and metadata of a safetensors file, without its tensors. @throws ERR_FILE */
export function readSafetensorsHeader(file: string): Header {
  const map = native.mapFile(file)
  try {
    return readHeader(file, map)
  } finally {
    map.release()
  }
}

/**
 * Reads a safetensors file after checking all of its header. Types become ours as `readStored` says.
 *
 * On the CPU, tensors of our types are the file itself, mapped: pages are read when first used, and a write to such a tensor
 * changes a private copy of the page, never the file. Replace a file that is in use by renaming another to it (as
 * `writeSafetensors` does); where it is cut short in place, ops on its tensors throw ERR_FILE.
 * @throws ERR_FILE when the file is missing, not safetensors, inconsistent or cut off
 */
export function readSafetensors(file: string, options: SafetensorsOptions = {}): SafetensorsFile {
  const { map, stored, metadata } = openSafetensors(file)
  const tensors = new Map<string, Tensor>()
  try {
    for (const entry of stored)
      if (options.filter?.(entry.name) ?? true) tensors.set(entry.name, readStored(entry, options.device))
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose()
    throw error
  } finally {
    map.release()
  }
  return { tensors, metadata }
}
