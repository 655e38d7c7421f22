/**
 * Results of costly work on records (token maps, text states), kept on disk by a hash of the record, across runs and shared
 * by processes. A folder holds one segment for each process that added something: `NAME.data`, the payloads one after the
 * other, and `NAME.index`, a row of 32 bytes for each: key (16), offset (8), bytes (4), CRC-32 of the payload (4). A row is
 * written behind its payload, and read only where it and the payload are whole, so a process may be killed at any time.
 * In memory is a hash table of 28 bytes an entry; payloads are read when asked for.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { fileError, makeFolder } from '../native/files.js'
import { StarError } from '../native/index.js'

export const cacheKeyBytes = 16
const rowBytes = 32
const rowsRead = 1 << 15

interface Segment {
  name: string
  data: number
  index: number
  /** Bytes of the index that were read. */
  read: number
}

/** Open addressing over the first eight bytes of a key; the payload's row on disk is checked with the whole key. */
class Table {
  #keys = new Uint32Array(2 * 1024)
  #segments = new Int32Array(1024).fill(-1)
  #rows = new Float64Array(1024)
  #count = 0

  get count(): number {
    return this.#count
  }

  #slot(low: number, high: number): number {
    const mask = this.#segments.length - 1
    let slot = (low ^ Math.imul(high, 0x9e3779b1)) & mask
    while (this.#segments[slot] >= 0 && (this.#keys[2 * slot] !== low || this.#keys[2 * slot + 1] !== high))
      slot = (slot + 1) & mask
    return slot
  }

  /** Segment and offset of the row in its index. */
  get(key: Buffer): [number, number] | null {
    const slot = this.#slot(key.readUInt32LE(0), key.readUInt32LE(4))
    return this.#segments[slot] < 0 ? null : [this.#segments[slot], this.#rows[slot]]
  }

  /** Keeps what is there already. */
  add(low: number, high: number, segment: number, row: number): void {
    if (2 * this.#count >= this.#segments.length) this.#grow()
    const slot = this.#slot(low, high)
    if (this.#segments[slot] >= 0) return
    this.#keys[2 * slot] = low
    this.#keys[2 * slot + 1] = high
    this.#segments[slot] = segment
    this.#rows[slot] = row
    this.#count++
  }

  #grow(): void {
    const [keys, segments, rows] = [this.#keys, this.#segments, this.#rows]
    const size = 2 * segments.length
    this.#keys = new Uint32Array(2 * size)
    this.#segments = new Int32Array(size).fill(-1)
    this.#rows = new Float64Array(size)
    this.#count = 0
    segments.forEach((segment, slot) => {
      if (segment >= 0) this.add(keys[2 * slot], keys[2 * slot + 1], segment, rows[slot])
    })
  }
}

export class RecordCache {
  readonly #segments: Segment[] = []
  readonly #table = new Table()
  /** The segment this process writes, made with its first entry. */
  #own: { segment: number; bytes: number; rows: number } | null = null

  /** @throws ERR_FILE when the folder cannot be made or read */
  constructor(readonly folder: string) {
    try {
      makeFolder(folder)
      this.refresh()
    } catch (error) {
      this.close()
      throw fileError('read', folder, error)
    }
  }

  /** Entries known. */
  get count(): number {
    return this.#table.count
  }

  /** Takes in what other processes added. */
  refresh(): void {
    const known = new Set(this.#segments.map(({ name }) => name))
    for (const file of readdirSync(this.folder).sort()) {
      const name = file.replace(/\.index$/, '')
      if (name === file || known.has(name)) continue
      const index = openSync(join(this.folder, file), 'r')
      try {
        this.#segments.push({ name, index, data: openSync(join(this.folder, `${name}.data`), 'r'), read: 0 })
      } catch (error) {
        closeSync(index)
        throw error
      }
    }
    this.#segments.forEach((segment, number) => {
      if (number !== this.#own?.segment) this.#readIndex(segment, number)
    })
  }

  #readIndex(segment: Segment, number: number): void {
    const rows = Buffer.allocUnsafe(rowBytes * rowsRead)
    for (;;) {
      const bytes = readSync(segment.index, rows, 0, rows.length, segment.read)
      const whole = bytes - (bytes % rowBytes)
      // Asked after the rows were read: the payloads of rows that another process has just written lie within.
      const dataBytes = fstatSync(segment.data).size
      for (let at = 0; at < whole; at += rowBytes) {
        const end = Number(rows.readBigUInt64LE(at + 16)) + rows.readUInt32LE(at + 24)
        if (end <= dataBytes)
          this.#table.add(rows.readUInt32LE(at), rows.readUInt32LE(at + 4), number, segment.read + at)
      }
      segment.read += whole
      if (bytes < rows.length) return
    }
  }

  has(key: Buffer): boolean {
    return this.#table.get(key) !== null
  }

  /** The payload, or null where there is none. @throws ERR_FILE when it is damaged */
  get(key: Buffer): Buffer | null {
    const place = this.#table.get(key)
    if (!place) return null
    const { name, data, index } = this.#segments[place[0]]
    const row = Buffer.allocUnsafe(rowBytes)
    readSync(index, row, 0, rowBytes, place[1])
    // Two keys may share their first half, however unlikely: then only the first of them is kept.
    if (row.compare(key, 0, cacheKeyBytes, 0, cacheKeyBytes) !== 0) return null
    const payload = Buffer.allocUnsafeSlow(row.readUInt32LE(24))
    const bytes = readSync(data, payload, 0, payload.length, Number(row.readBigUInt64LE(16)))
    if (bytes !== payload.length || crc32(payload) !== row.readUInt32LE(28))
      throw new StarError(
        'ERR_FILE',
        `${join(this.folder, name)}.data is damaged (an entry does not have its checksum): remove the folder ${this.folder}, it is made again`,
      )
    return payload
  }

  /** Adds an entry; one that is there already stays. @throws ERR_FILE when it cannot be written */
  put(key: Buffer, payload: Uint8Array): void {
    if (this.has(key)) return
    try {
      this.#own ??= this.#startSegment()
      const own = this.#own
      const segment = this.#segments[own.segment]
      const row = Buffer.alloc(rowBytes)
      key.copy(row, 0, 0, cacheKeyBytes)
      row.writeBigUInt64LE(BigInt(own.bytes), 16)
      row.writeUInt32LE(payload.length, 24)
      row.writeUInt32LE(crc32(payload), 28)
      writeWhole(segment.data, payload, own.bytes)
      writeWhole(segment.index, row, own.rows)
      this.#table.add(key.readUInt32LE(0), key.readUInt32LE(4), own.segment, own.rows)
      own.bytes += payload.length
      own.rows += rowBytes
    } catch (error) {
      throw fileError('written', this.folder, error)
    }
  }

  #startSegment(): { segment: number; bytes: number; rows: number } {
    const name = `${Date.now().toString(36)}-${process.pid}-${randomBytes(4).toString('hex')}`
    const data = openSync(join(this.folder, `${name}.data`), 'wx+')
    // The index comes last: who finds it finds the data too.
    const index = openSync(join(this.folder, `${name}.index`), 'wx+')
    this.#segments.push({ name, data, index, read: 0 })
    return { segment: this.#segments.length - 1, bytes: 0, rows: 0 }
  }

  close(): void {
    for (const { data, index } of this.#segments.splice(0)) {
      closeSync(data)
      closeSync(index)
    }
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function writeWhole(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
}
