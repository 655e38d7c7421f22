/**
 * Results of costly work on records (token maps, text states), kept on disk by a hash of the record, across runs and shared by
 * the processes and threads of a machine: an LMDB environment in one file, `records.mdb`, written by the npm package `lmdb`.
 * It has a size limit; the oldest entries are dropped when a new one does not fit. Payloads are read when asked for, nothing is
 * held in memory. (Packs are read by liblmdb 0.9 in lib/native: the two libraries have different file formats.)
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Database, RootDatabase } from 'lmdb'
import { fileError, makeFolder } from '../native/files.js'
import { StarError } from '../native/index.js'
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

const fileName = 'records.mdb'
/** Bytes of a page of a new file: eleven token maps of 256² fit in one. A file keeps the size it was made with. */
const pageSize = 16384
const pageHeader = 24
/** In front of a payload: its key, then its CRC-32. */
const headerBytes = cacheKeyBytes + 4
/** Bytes of an entry in the table from keys to numbers, whose pages are two thirds full. */
const keyCost = 60
/** Files of the format before: `NAME.data` and `NAME.index` for each process that wrote. */
const oldFile = /^[0-9a-z]+-[0-9]+-[0-9a-f]{8}\.(data|index)$/

export interface RecordCacheOptions {
  /** Largest size on disk in bytes, exceeded by what a few calls of `add` write at most. Default 64 GB. */
  limit?: number
  /** Told when files of the format before were removed. */
  onNote?: (message: string) => void
}

const totalKey = Buffer.from('bytes')

type Table = Database<Buffer, Buffer>

/** The library is loaded with the first cache: most programs that import the project open none. */
const lmdb = (): typeof import('lmdb') => createRequire(import.meta.url)('lmdb')

/** Key of an entry by its age: a counter, big-endian so that keys sort as numbers do. */
function numberKey(n: bigint): Buffer {
  const key = Buffer.allocUnsafe(8)
  key.writeBigUInt64BE(n)
  return key
}

/** What a value takes on disk with 8 bytes of key: a share of a page, or pages of its own where it is over half of one. */
function diskBytes(payload: number): number {
  const node = 8 + 8 + headerBytes + payload + 2
  const perPage = Math.floor((pageSize - pageHeader) / node)
  if (perPage >= 2) return pageSize / perPage + keyCost
  return pageSize * Math.ceil((pageHeader + headerBytes + payload) / pageSize) + keyCost
}

export class RecordCache {
  readonly #file: string
  readonly #limit: number
  readonly #environment: RootDatabase<Buffer, Buffer>
  /** Number of an entry → key, CRC-32, payload. Numbers only grow, so the first entry is the oldest. */
  readonly #entries: Table
  /** Key → number. */
  readonly #numbers: Table
  /** 'bytes' → what all entries take on disk, a double. */
  readonly #totals: Table

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
      checkFile(this.#file)
    } catch (error) {
      throw fileError('read', folder, error)
    }
    try {
      const binary = { encoding: 'binary', keyEncoding: 'binary' } as const
      this.#environment = lmdb().open({ path: this.#file, pageSize, maxDbs: 3, ...binary })
      this.#entries = this.#environment.openDB({ name: 'entries', ...binary })
      this.#numbers = this.#environment.openDB({ name: 'numbers', ...binary })
      this.#totals = this.#environment.openDB({ name: 'totals', ...binary })
    } catch (error) {
      throw this.#error('opened', error)
    }
  }

  #error(action: string, error: unknown): unknown {
    if (!(error instanceof Error) || error instanceof StarError) return error
    const remedy = 'check the disk, or remove the folder, it is made again'
    return new StarError('ERR_FILE', `${this.#file} cannot be ${action} (${error.message}): ${remedy}`, {
      cause: error,
    })
  }

  /** Entries there are. */
  get count(): number {
    return (this.#numbers.getStats() as { entryCount: number }).entryCount
  }

  /** Sees what other processes have added since. Where the event loop has turned, it is seen anyway. */
  refresh(): void {
    this.#environment.resetReadTxn()
  }

  has(key: Buffer): boolean {
    return this.#numbers.get(key) !== undefined
  }

  /** The payload, or null where there is none. @throws ERR_FILE when it is damaged */
  get(key: Buffer): Buffer | null {
    const number = this.#numbers.get(key)
    const entry = number && this.#entries.get(number)
    if (!entry) return null
    const payload = entry.subarray(headerBytes)
    if (
      entry.compare(key, 0, cacheKeyBytes, 0, cacheKeyBytes) !== 0 ||
      crc32(payload) !== entry.readUInt32LE(cacheKeyBytes)
    )
      throw new StarError(
        'ERR_FILE',
        `${this.#file} is damaged (an entry does not have its checksum): remove the folder ${this.folder}, it is made again`,
      )
    return payload
  }

  /**
   * Adds entries, all or none; those that are there already stay as they are. Drops the oldest ones where the limit asks for it.
   * A process may be killed at any moment. A worker thread must not be terminated in here: the library (lmdb 3.5.6) waits for
   * ever then, because its clean-up of the thread asks for the lock that the interrupted transaction holds.
   * @throws ERR_FILE when they cannot be written
   */
  add(entries: Iterable<readonly [key: Buffer, payload: Uint8Array]>): void {
    try {
      this.#environment.transactionSync(() => {
        const [last] = this.#entries.getKeys({ reverse: true, limit: 1 })
        let next = last ? last.readBigUInt64BE() + 1n : 0n
        let bytes = this.#totals.get(totalKey)?.readDoubleLE() ?? 0
        for (const [key, payload] of entries) {
          if (this.#numbers.get(key)) continue
          const header = Buffer.allocUnsafe(headerBytes)
          key.copy(header, 0, 0, cacheKeyBytes)
          header.writeUInt32LE(crc32(payload), cacheKeyBytes)
          bytes = this.#dropOldest(bytes + diskBytes(payload.length))
          const number = numberKey(next++)
          this.#entries.putSync(number, Buffer.concat([header, payload]), { append: true })
          this.#numbers.putSync(key, number)
        }
        const total = Buffer.allocUnsafe(8)
        total.writeDoubleLE(bytes)
        this.#totals.putSync(totalKey, total)
      })
    } catch (error) {
      throw this.#error('written', error)
    }
  }

  /** Removes entries from the oldest on until `bytes` are within the limit. Returns the bytes that are left. */
  #dropOldest(bytes: number): number {
    let left = bytes
    while (left > this.#limit) {
      const [oldest] = this.#entries.getKeys({ limit: 1 })
      const entry = oldest && this.#entries.get(oldest)
      if (!entry) return left
      this.#entries.removeSync(oldest)
      this.#numbers.removeSync(entry.subarray(0, cacheKeyBytes))
      left -= diskBytes(entry.length - headerBytes)
    }
    return left
  }

  close(): void {
    void this.#environment.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The format before can only be read by its own code: what it held is made again when it is needed. */
function removeOldFiles(folder: string, onNote?: (message: string) => void): void {
  const old = readdirSync(folder).filter((name) => oldFile.test(name))
  for (const name of old) rmSync(join(folder, name), { force: true })
  if (old.length > 0)
    onNote?.(
      `${folder} held a cache of an earlier format: ${old.length} files removed, its entries are made again when needed`,
    )
}

/**
 * Refuses a file that the library would end the process on: another format, or one cut off before the roots of its trees. Each
 * of the first two pages holds, behind 24 bytes of header: magic (4), version (4), address (8), size of the map (8), then two
 * trees of 48 bytes (free pages, tables), the first of which begins with the size of a page and each of which ends with the
 * number of its root's page (2⁶⁴ − 1 where it is empty).
 * @throws ERR_FILE
 */
function checkFile(file: string): void {
  let fd: number
  try {
    fd = openSync(file, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  try {
    if (fstatSync(fd).size === 0) return
    const metas = [0, 1].map((page) => {
      const meta = Buffer.alloc(pageHeader + 120)
      return { meta, bytes: readSync(fd, meta, 0, meta.length, page * pageSize) }
    })
    // Others may be writing: pages reach the file before the metas that name them, so its size is asked for last.
    const { size } = fstatSync(fd)
    for (const { meta, bytes } of metas) {
      const at = pageHeader
      const roots = [at + 24 + 40, at + 24 + 48 + 40].map((place) => meta.readBigUInt64LE(place))
      const sound =
        bytes === meta.length &&
        meta.readUInt32LE(at) === 0xbeefc0de &&
        meta.readUInt32LE(at + 4) === 2 &&
        meta.readUInt32LE(at + 24) === pageSize &&
        roots.every((root) => root === 2n ** 64n - 1n || (root + 1n) * BigInt(pageSize) <= BigInt(size))
      if (!sound)
        throw new StarError(
          'ERR_FILE',
          `${file} is damaged, or is no cache of this program: remove it, it is made again`,
        )
    }
  } finally {
    closeSync(fd)
  }
}
