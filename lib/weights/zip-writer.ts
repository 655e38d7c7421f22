/** Writes zip archives as torch.save does: entries stored, each content on a multiple of 64 bytes, zip64 where needed. */
import { crc32 } from 'node:zlib'

const alignment = 64
const version = 45 // zip64
const most16 = 0xffff
const most32 = 0xffffffff
const utf8Names = 1 << 11
const crcPiece = 1 << 28

function checksum(data: Uint8Array): number {
  let crc = 0
  for (let begin = 0; begin < data.length; begin += crcPiece) crc = crc32(data.subarray(begin, begin + crcPiece), crc)
  return crc
}

/** Numbers of 16, 32 and 64 bits one after another. */
function fields(...values: (readonly [bits: 16 | 32 | 64, value: number])[]): Buffer {
  const bytes = Buffer.alloc(values.reduce((n, [bits]) => n + bits / 8, 0))
  let at = 0
  for (const [bits, value] of values) {
    if (bits === 64) bytes.writeBigUInt64LE(BigInt(value), at)
    else bytes.writeUIntLE(value, at, bits / 8)
    at += bits / 8
  }
  return bytes
}

interface Written {
  name: Buffer
  crc: number
  size: number
  begin: number
}

/** Makes the bytes of an archive, to be written in the order they are given out. */
export class ZipWriter {
  readonly #entries: Written[] = []
  #position = 0

  /** The table of entries, without which the archive is not one. */
  finish(): Uint8Array {
    const begin = this.#position
    const table = Buffer.concat(this.#entries.map(tableEntry))
    const size = table.length
    const count = this.#entries.length
    const wide = count >= most16 || begin >= most32
    const count64 = [64, count] as const
    const end64 = [
      fields([32, 0x06064b50], [64, 44], [16, version], [16, version], [32, 0], [32, 0], count64, count64),
      fields([64, size], [64, begin]),
      fields([32, 0x07064b50], [32, 0], [64, begin + size], [32, 1]),
    ]
    const count16 = [16, Math.min(count, most16)] as const
    const end = [
      fields([32, 0x06054b50], [16, 0], [16, 0], count16, count16),
      fields([32, size], [32, Math.min(begin, most32)], [16, 0]),
    ]
    return Buffer.concat([table, ...(wide ? end64 : []), ...end])
  }

  /** Header and content of an entry. */
  *add(text: string, data: Uint8Array): Generator<Uint8Array> {
    const name = Buffer.from(text)
    const entry = { name, crc: checksum(data), size: data.length, begin: this.#position }
    const wide = entry.size >= most32
    const sizes = wide ? fields([16, 1], [16, 16], [64, entry.size], [64, entry.size]) : Buffer.alloc(0)
    // An extra field 'FB' fills up to the alignment; it takes four bytes at least.
    const content = this.#position + 30 + name.length + sizes.length + 4
    const fill = (alignment - (content % alignment)) % alignment
    const padding = Buffer.concat([Buffer.from('FB'), fields([16, fill]), Buffer.alloc(fill, 'Z')])
    const head = common(entry, wide, sizes.length + padding.length)
    this.#entries.push(entry)
    this.#position = content + fill + data.length
    yield Buffer.concat([fields([32, 0x04034b50]), head, name, sizes, padding])
    yield data
  }
}

/** What an entry's own header and its place in the table have in common. */
function common({ name, crc, size }: Written, wide: boolean, extra: number): Buffer {
  const narrow = [32, wide ? most32 : size] as const
  // No date: 1980-01-01, so that the same weights give the same bytes.
  return Buffer.concat([
    fields([16, version], [16, utf8Names], [16, 0], [16, 0], [16, 0x21], [32, crc], narrow, narrow),
    fields([16, name.length], [16, extra]),
  ])
}

function tableEntry(entry: Written): Buffer {
  const { name, size, begin } = entry
  const wide = size >= most32
  const far = begin >= most32
  const values = [...(wide ? [size, size] : []), ...(far ? [begin] : [])]
  const extra = Buffer.concat(
    values.length > 0
      ? [fields([16, 1], [16, 8 * values.length]), ...values.map((value) => fields([64, value] as const))]
      : [],
  )
  return Buffer.concat([
    fields([32, 0x02014b50], [16, version]),
    common(entry, wide, extra.length),
    fields([16, 0], [16, 0], [16, 0], [32, 0], [32, far ? most32 : begin]),
    name,
    extra,
  ])
}
