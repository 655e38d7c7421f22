/** Tars as lists of members: made, taken apart, and damaged so that headers stay sound and what lies behind them is reached. */
import type { Mutator } from './mutate.js'

const block = 512
/** Places of a header's fields, POSIX.1-1988 ("ustar"): first byte and length. */
const fields = {
  name: [0, 100],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  magic: [257, 8],
  prefix: [345, 155],
} as const

export interface TarMember {
  /** 512 bytes. */
  header: Buffer
  content: Buffer
}

export interface MemberOptions {
  /** '0' file, '2' symbolic link, '5' folder, '7' contiguous file, 'x' and 'g' pax records, 'L' and 'K' GNU's long names. */
  type?: string
  prefix?: string
  /** GNU's magic in place of POSIX's. */
  gnu?: boolean
  /** The size as a number of base 256, for members of more than 8 GiB. */
  binarySize?: boolean
}

function writeSize(header: Buffer, size: number, binary: boolean): void {
  const [at, length] = fields.size
  header.fill(0, at, at + length)
  if (binary) {
    header[at] = 0x80
    header.writeUIntBE(size, at + length - 6, 6)
  } else header.write(`${size.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
}

export function member(name: string, content: string | Buffer, options: MemberOptions = {}): TarMember {
  const { type = '0', prefix = '', gnu = false, binarySize = false } = options
  const header = Buffer.alloc(block)
  const bytes = Buffer.from(content as string)
  header.write(name, fields.name[0], fields.name[1], 'utf8')
  header.write('0000644\x000000000\x000000000\0', 100, 'latin1')
  writeSize(header, bytes.length, binarySize)
  header.write('00000000000\0', 136, 'latin1')
  header.write(type, fields.type[0], 1, 'latin1')
  header.write(gnu ? 'ustar  \0' : 'ustar\x0000', fields.magic[0], 'latin1')
  header.write(prefix, fields.prefix[0], fields.prefix[1], 'utf8')
  return { header, content: bytes }
}

/** A record of pax: its own length in decimal, a blank, key=value and a line feed. */
export function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`)
  let length = rest + String(rest).length
  if (rest + String(length).length > length) length++
  return `${length} ${key}=${value}\n`
}

function withChecksum(header: Buffer): Buffer {
  const [at, length] = fields.checksum
  header.fill(0x20, at, at + length)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, at, 'latin1')
  return header
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (block - 1))])

/** The bytes of a tar, with right checksums; sizes are what the headers say. */
export const tarOf = (members: readonly TarMember[], end = 2 * block): Buffer =>
  Buffer.concat([
    ...members.flatMap(({ header, content }) => [withChecksum(Buffer.from(header)), padded(content)]),
    Buffer.alloc(end),
  ])

function sizeIn(header: Buffer): number {
  const [at, length] = fields.size
  if (header[at] & 0x80) return header.readUIntBE(at + length - 6, 6)
  return Number.parseInt(header.toString('latin1', at, at + length).trim(), 8)
}

/** The members of bytes that may be damaged: what cannot be a size is taken for none. */
export function membersOf(bytes: Buffer): TarMember[] {
  const members: TarMember[] = []
  for (let at = 0; at + block <= bytes.length; ) {
    const header = bytes.subarray(at, at + block)
    at += block
    if (header.every((byte) => byte === 0)) continue
    const size = sizeIn(header)
    const content = bytes.subarray(at, at + Math.max(size || 0, 0))
    members.push({ header, content })
    at += Math.ceil(content.length / block) * block
  }
  return members
}

const records: readonly (readonly [string, string])[] = [
  ['path', 'a/b.json'],
  ['path', `${'long/'.repeat(60)}n.png`],
  ['path', ''],
  ['size', '3'],
  ['size', '-1'],
  ['size', '1e9'],
  ['size', '99999999999999999999'],
  ['linkpath', '../x'],
  ['__proto__', 'x'],
]

function step(members: TarMember[], others: () => TarMember[], mutator: Mutator): void {
  const at = mutator.below(members.length + 1)
  const one = members[Math.min(at, members.length - 1)] as TarMember | undefined
  const put = (index: number, given: TarMember): unknown => members.splice(index, 0, given)
  switch (mutator.below(8)) {
    case 0:
    case 1: {
      if (!one) return
      const content = mutator.mutate(one.content, [one.content, ...members.map((other) => other.content)])
      const header = Buffer.from(one.header)
      if (mutator.below(8) > 0) writeSize(header, content.length, mutator.below(8) === 0)
      members[members.indexOf(one)] = { header, content }
      return
    }
    case 2: {
      if (!one) return
      const header = Buffer.alloc(block)
      mutator.mutate(one.header, [one.header]).copy(header)
      members[members.indexOf(one)] = { ...one, header }
      return
    }
    case 3: {
      if (!one) return
      const header = Buffer.from(one.header)
      header.write(mutator.pick(['0', '\0', '1', '2', '3', '5', '7', 'x', 'g', 'L', 'K', 'S', '9']), fields.type[0])
      members[members.indexOf(one)] = { ...one, header }
      return
    }
    case 4:
      if (one) members.splice(members.indexOf(one), 1)
      return
    case 5:
      if (one) put(at, one)
      return
    case 6: {
      const given = others()
      if (given.length > 0) put(at, mutator.pick(given))
      return
    }
    default: {
      const pax = Array.from({ length: 1 + mutator.below(3) }, () => paxRecord(...mutator.pick(records))).join('')
      const long = mutator.pick([`${'very/'.repeat(40)}long.txt\0`, 'x', '', '\0'])
      const type = mutator.pick(['x', 'x', 'g', 'L', 'K'])
      put(at, member('PaxHeader', type === 'x' || type === 'g' ? pax : long, { type, gnu: type < 'a' }))
    }
  }
}

/** Members changed, moved, repeated, left out and taken from other tars; their headers' checksums are right. */
export function mutateTar(bytes: Buffer, others: readonly Buffer[], mutator: Mutator): Buffer {
  const members = membersOf(bytes)
  for (let n = 1 + mutator.below(4); n > 0; n--) step(members, () => membersOf(mutator.pick(others)), mutator)
  const tar = tarOf(members, mutator.pick([2 * block, 2 * block, block, 0]))
  return mutator.below(8) === 0 ? mutator.mutate(tar, others) : tar.subarray(0, mutator.longest)
}
