/** Zip archives and pickles put together byte by byte, as torch.save writes them and as it never would. */
import { crc32 } from 'node:zlib'

export const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16LE(value)
  return bytes
}
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
export const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

export interface ArchiveOptions {
  /** Compression method the entries claim; default 0, stored. */
  method?: number
  flags?: number
  /** Size that the table gives each entry, where it is not the true one. */
  claimed?: number
  /** Sizes and places in zip64 fields. */
  wide?: boolean
  comment?: string
}

/** A zip archive of entries in order. */
export function archive(entries: readonly (readonly [string, Uint8Array])[], options: ArchiveOptions = {}): Buffer {
  const { method = 0, flags = 0, wide = false, comment = '' } = options
  const parts: Buffer[] = []
  const table: Buffer[] = []
  let at = 0
  for (const [name, data] of entries) {
    const size = options.claimed ?? data.length
    const narrow = (value: number): Buffer => u32(wide ? 0xffffffff : value)
    const extra = wide ? Buffer.concat([u16(1), u16(24), u64(size), u64(size), u64(at)]) : Buffer.alloc(0)
    const common = [u16(flags), u16(method), u32(0), u32(crc32(data)), narrow(size), narrow(size), u16(name.length)]
    table.push(latin1('PK\x01\x02'), u16(20), u16(20), ...common, u16(extra.length), u16(0), u16(0), u16(0), u32(0))
    table.push(narrow(at), latin1(name), extra)
    // The extra field of an entry's own header fills up to a multiple of 64, as torch.save does; the table's does not.
    const fill = 63 - ((at + 30 + name.length + 63) % 64)
    const local = [
      latin1('PK\x03\x04'),
      u16(20),
      ...common,
      u16(fill),
      latin1(name),
      Buffer.alloc(fill),
      Buffer.from(data),
    ]
    parts.push(...local)
    at += local.reduce((n, part) => n + part.length, 0)
  }
  const list = Buffer.concat(table)
  const count = wide ? 0xffff : entries.length
  const end64 = [
    latin1('PK\x06\x06'),
    u64(44),
    u16(45),
    u16(45),
    u32(0),
    u32(0),
    ...[entries.length, entries.length, list.length, at].map(u64),
  ]
  const locator = [latin1('PK\x06\x07'), u32(0), u64(at + list.length), u32(1)]
  const end = [latin1('PK\x05\x06'), u16(0), u16(0), u16(count), u16(count), u32(wide ? 0xffffffff : list.length)]
  const last = [u32(wide ? 0xffffffff : at), u16(comment.length), latin1(comment)]
  return Buffer.concat([...parts, list, ...(wide ? [...end64, ...locator] : []), ...end, ...last])
}

/** A checkpoint in the zip form with this pickle (latin1 text) and these storages. */
export function checkpoint(
  pickle: string,
  storages: Record<string, Uint8Array> = {},
  options?: ArchiveOptions,
): Buffer {
  return archive(
    [
      ['x/data.pkl', latin1(pickle)],
      ...Object.entries(storages).map(([key, data]) => [`x/data/${key}`, data] as const),
      ['x/version', latin1('3\n')],
    ],
    options,
  )
}

/** Pickle instructions. */
export const text = (value: string): string => `X${u32(Buffer.byteLength(value)).toString('latin1')}${value}`
export const int = (value: number): string =>
  value < 2 ** 31 ? `J${u32(value).toString('latin1')}` : `\x8a\x08${u64(value).toString('latin1')}`
export const tuple = (values: readonly number[]): string => `(${values.map(int).join('')}t`

export interface TensorSpelling {
  storage?: string
  key?: string
  count: number
  offset?: number
  shape: readonly number[]
  strides: readonly number[]
}

export function tensor({
  storage = 'FloatStorage',
  key = '0',
  count,
  offset = 0,
  shape,
  strides,
}: TensorSpelling): string {
  const id = `(${text('storage')}ctorch\n${storage}\n${text(key)}${text('cpu')}${int(count)}tQ`
  const none = 'ccollections\nOrderedDict\n)R'
  return `ctorch._utils\n_rebuild_tensor_v2\n(${id}${int(offset)}${tuple(shape)}${tuple(strides)}\x89${none}tR`
}

/** A pickle of a dictionary of these values. */
export const dict = (values: Record<string, string>): string =>
  `\x80\x02}(${Object.entries(values)
    .map(([key, value]) => text(key) + value)
    .join('')}u.`
