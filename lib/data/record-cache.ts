/**
 * Results of costly work on records (token maps, text states), kept on disk by a hash of the record, across runs and shared by
 * the processes and threads of a machine: an LMDB file, `records.lmdb` (native/io/record_store.h). It has a size limit; the oldest
 * entries are dropped when a new one does not fit. Payloads are read when asked for, nothing is held in memory.
 */
import { createHash } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { fileError, makeFolder } from '../native/files.js'
import { native, StarError } from '../native/index.js'
import type { RecordStore } from '../native/ops/io.js'
import type { PictureSize } from './buckets.js'

export const cacheKeyBytes = 16

/**
 * Key of a picture: a hash of its encoded bytes, whose first bit says whether it is mirrored.
 * @param size that it is brought to, where that is not the one that the cache is named after
 */
export function contentKey(bytes: Uint8Array, mirrored: boolean, size?: PictureSize): Buffer {
  const hash = createHash('sha256').update(bytes)
  if (size) hash.update(`${size.width}×${size.height}`)
  const key = hash.digest().subarray(0, cacheKeyBytes)
  key[0] = (key[0] & 0xfe) | (mirrored ? 1 : 0)
  return key
}
/** Default size limit of a cache, in bytes. */
export const defaultCacheLimit = 64e9

const fileName = 'records.lmdb'
/** Files of the formats before: `NAME.data` and `NAME.index` for each process that wrote, then LMDB's format 2. */
const oldFile = /^([0-9a-z]+-[0-9]+-[0-9a-f]{8}\.(data|index)|records\.mdb(-lock)?)$/

export interface RecordCacheOptions {
  /** Largest size on disk in bytes, exceeded by what a few calls of `add` write at most. Default 64 GB. */
  limit?: number
  /** Told when files of the formats before were removed. */
  onNote?: (message: string) => void
}

/** In front of a payload: the CRC-32 of key and payload. */
const headerBytes = 4

const checksum = (key: Buffer, payload: Uint8Array): number => crc32(payload, crc32(key))

export class RecordCache {
  readonly #file: string
  readonly #limit: number
  readonly #store: RecordStore

  /** @throws ERR_FILE when the folder cannot be made or read, or what lies there is no such cache */
  constructor(
    readonly folder: string,
    { limit = defaultCacheLimit, onNote }: RecordCacheOptions = {},
  ) {
    this.#file = join(folder, fileName)
    this.#limit = limit
    try {
      makeFolder(folder)
      removeOldFiles(folder, onNote)
    } catch (error) {
      throw fileError('read', folder, error)
    }
    this.#store = new native.RecordStore(this.#file)
  }

  /** Entries there are. */
  get count(): number {
    return this.#store.count()
  }

  /** @throws ERR_FILE when the file cannot be read */
  has(key: Buffer): boolean {
    return this.#store.has(key)
  }

  /** The payload, or null where there is none. @throws ERR_FILE when it is damaged */
  get(key: Buffer): Buffer | null {
    const bytes = this.#store.get(key)
    if (!bytes) return null
    const entry = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    const payload = entry.subarray(headerBytes)
    if (entry.length < headerBytes || entry.readUInt32LE() !== checksum(key, payload))
      throw new StarError(
        'ERR_FILE',
        `${this.#file} is damaged (an entry does not have its checksum): remove the folder ${this.folder}, it is made again`,
      )
    return payload
  }

  /**
   * Adds entries, all or none; those that are there already stay as they are. Drops the oldest ones where the limit asks for it.
   * A process may be killed, and a thread ended, at any moment.
   * @throws ERR_FILE when they cannot be written
   */
  add(entries: Iterable<readonly [key: Buffer, payload: Uint8Array]>): void {
    const keys: Buffer[] = []
    const values: Buffer[] = []
    for (const [key, payload] of entries) {
      const header = Buffer.allocUnsafe(headerBytes)
      header.writeUInt32LE(checksum(key, payload))
      keys.push(key)
      values.push(Buffer.concat([header, payload]))
    }
    if (keys.length > 0) this.#store.add(keys, values, this.#limit)
  }

  close(): void {
    this.#store.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The formats before can only be read by their own code: what they held is made again when it is needed. */
function removeOldFiles(folder: string, onNote?: (message: string) => void): void {
  const old = readdirSync(folder).filter((name) => oldFile.test(name))
  for (const name of old) rmSync(join(folder, name), { force: true })
  if (old.length > 0)
    onNote?.(
      `${folder} held a cache of an earlier format: ${old.length} files removed, its entries are made again when needed`,
    )
}
