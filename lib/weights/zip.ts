/**
 * Zip archives whose entries are stored, not compressed: what torch.save writes, so that tensors can be mapped. Only the
 * table of entries is read (APPNOTE.TXT 6.3, sections 4.3.7 to 4.3.16, zip64 included); zip libraries hand out streams or
 * copies of entries, not where they lie.
 */
import { type NativeTensor, quoted } from '../native/index.js'
import { bytesOf } from './stored-tensor.js'

export interface ZipEntry {
  name: string
  /** First byte of the content and the byte after the last, from the start of the file. */
  begin: number
  end: number
}

const endSignature = 0x06054b50
const end64Signature = 0x06064b50
const locatorSignature = 0x07064b50
const entrySignature = 0x02014b50
const localSignature = 0x04034b50
const endSize = 22
const locatorSize = 20
const end64Size = 56
const entrySize = 46
const localSize = 30
/** The table of entries of a checkpoint has about 100 bytes a tensor. */
const maxTable = 1 << 25

type Damaged = (detail: string) => Error

interface Table {
  begin: number
  size: number
  count: number
}

function findTable(map: NativeTensor, damaged: Damaged): Table {
  const size = map.shape()[0]
  const from = Math.max(0, size - endSize - 0xffff)
  const tail = Buffer.from(bytesOf(map, from, size))
  let at = tail.length - endSize
  // The comment behind the record must reach exactly to the end, else the signature is part of a comment.
  while (
    at >= 0 &&
    (tail.readUInt32LE(at) !== endSignature || tail.readUInt16LE(at + 20) !== tail.length - at - endSize)
  )
    at--
  if (at < 0) throw damaged('the table of its entries is missing, so it was cut off')
  if (tail.readUInt16LE(at + 4) !== 0 || tail.readUInt16LE(at + 6) !== 0)
    throw damaged('it is a part of an archive in several files')
  const table = {
    count: tail.readUInt16LE(at + 10),
    size: tail.readUInt32LE(at + 12),
    begin: tail.readUInt32LE(at + 16),
  }
  const locator = at - locatorSize
  if (locator >= 0 && tail.readUInt32LE(locator) === locatorSignature) {
    const place = Number(tail.readBigUInt64LE(locator + 8))
    if (place + end64Size > size) throw damaged('the place of its table of entries lies outside the file')
    const record = Buffer.from(bytesOf(map, place, place + end64Size))
    if (record.readUInt32LE(0) !== end64Signature) throw damaged('its table of entries is not where it should be')
    table.count = Number(record.readBigUInt64LE(32))
    table.size = Number(record.readBigUInt64LE(40))
    table.begin = Number(record.readBigUInt64LE(48))
  }
  if (table.size > maxTable)
    throw damaged(`its table of entries would take ${table.size} bytes, at most ${maxTable} are read`)
  if (table.begin + table.size > from + at) throw damaged('its table of entries lies outside the file')
  return table
}

/** Sizes and place that do not fit 32 bits stand in an extra field, in this order, those that need it only. */
function wideValues(extra: Buffer, values: number[], damaged: Damaged): number[] {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue
    const field = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2))
    let position = 0
    return values.map((value) => {
      if (value !== 0xffffffff) return value
      if (position + 8 > field.length) throw damaged('the size of an entry is missing')
      position += 8
      return Number(field.readBigUInt64LE(position - 8))
    })
  }
  return values
}

/** Where the content of an entry begins: behind its own header, whose extra field need not be that of the table. */
function contentBegin(map: NativeTensor, header: number, limit: number, name: Buffer, damaged: Damaged): number {
  if (header + localSize + name.length > limit) throw damaged(`the entry ${shown(name)} lies outside the file`)
  const local = Buffer.from(bytesOf(map, header, header + localSize + name.length))
  if (local.readUInt32LE(0) !== localSignature || !local.subarray(localSize).equals(name))
    throw damaged(`the entry ${shown(name)} is not where the table says`)
  return header + localSize + local.readUInt16LE(26) + local.readUInt16LE(28)
}

const shown = (name: Buffer): string => quoted(name.toString('utf8'))

/**
 * The entries of an archive by name.
 * @param damaged makes the error for a broken archive
 * @param refused makes the error for one that is whole but compressed or encrypted
 */
export function readZip(map: NativeTensor, damaged: Damaged, refused: Damaged): Map<string, ZipEntry> {
  const { begin, size, count } = findTable(map, damaged)
  const table = Buffer.from(bytesOf(map, begin, begin + size))
  const entries = new Map<string, ZipEntry>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + entrySize > table.length || table.readUInt32LE(at) !== entrySignature)
      throw damaged(`its table holds ${i} entries, not the ${count} it should`)
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) => table.readUInt16LE(at + offset))
    const next = at + entrySize + nameLength + extraLength + commentLength
    if (next > table.length) throw damaged(`its table holds ${i} entries, not the ${count} it should`)
    const name = table.subarray(at + entrySize, at + entrySize + nameLength)
    if ((table.readUInt16LE(at + 8) & 1) !== 0) throw refused(`the entry ${shown(name)} is encrypted`)
    const method = table.readUInt16LE(at + 10)
    if (method !== 0)
      throw refused(`the entry ${shown(name)} is compressed (method ${method}${method === 8 ? ', deflate' : ''})`)
    const narrow = [24, 20, 42].map((offset) => table.readUInt32LE(at + offset))
    const extra = table.subarray(at + entrySize + nameLength, at + entrySize + nameLength + extraLength)
    const [fullSize, storedSize, header] = wideValues(extra, narrow, damaged)
    if (fullSize !== storedSize) throw damaged(`the entry ${shown(name)} has two sizes, ${fullSize} and ${storedSize}`)
    const first = contentBegin(map, header, begin, name, damaged)
    if (first + fullSize > begin) throw damaged(`the entry ${shown(name)} of ${fullSize} bytes lies outside the file`)
    const text = name.toString('utf8')
    if (entries.has(text)) throw damaged(`it has two entries ${shown(name)}`)
    entries.set(text, { name: text, begin: first, end: first + fullSize })
    at = next
  }
  return entries
}
