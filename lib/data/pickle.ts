/**
 * Python pickles of str, bytes, lists and sets of them and None: what the packs of the STAR authors hold. Reading covers every
 * protocol that Python writes for these; writing gives the bytes of Python's protocol 4.
 */
import { StarError } from '../native/index.js'
import {
  type PickleValue as AnyValue,
  bytesGlobals,
  pickleGlobals,
  setGlobals,
  unpickle as unpickleAny,
} from '../pickle/index.js'

export type PickleValue = string | Uint8Array | null | PickleValue[]

const frameTarget = 65536
const listBatch = 1000

const source = 'a pickled value'
const expected = 'A pack holds pickled text, bytes and lists only'
const globals = pickleGlobals([...bytesGlobals, ...setGlobals])

function refuse(detail: string): never {
  throw new StarError('ERR_FILE', `${source} cannot be read: ${detail}. ${expected}`)
}

/** Everything in `value` is of the types of a pack. Lists may hold each other in any depth, so nothing recurses. */
function check(value: AnyValue): value is PickleValue {
  const seen = new Set<AnyValue>()
  const open = [value]
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    if (item === null || typeof item === 'string' || item instanceof Uint8Array) continue
    if (!Array.isArray(item)) return false
    if (seen.has(item)) continue
    seen.add(item)
    for (const inner of item) open.push(inner)
  }
  return true
}

/**
 * The value of a pickle of str, bytes, None or lists of them. Bytes share the memory given.
 * @throws ERR_FILE for anything else, cut off data included
 */
export function unpickle(bytes: Uint8Array): PickleValue {
  const { value, end } = unpickleAny(bytes, { source, expected, globals })
  if (end !== bytes.length) refuse(`${bytes.length - end} bytes follow its end`)
  if (!check(value)) refuse('it holds something other than text, bytes and lists')
  return value
}

/** Collects protocol 4 output: frames of about 64 KiB, left out when they would hold fewer than four bytes. */
class Writer {
  readonly #done: Uint8Array[] = [Uint8Array.of(0x80, 4)]
  #frame: Uint8Array[] = []
  #frameBytes = 0

  #add(part: Uint8Array): void {
    this.#frame.push(part)
    this.#frameBytes += part.length
  }

  #close(): void {
    if (this.#frameBytes >= 4) {
      const head = Buffer.alloc(9)
      head[0] = 0x95
      head.writeBigUInt64LE(BigInt(this.#frameBytes), 1)
      this.#done.push(head)
    }
    this.#done.push(...this.#frame)
    this.#frame = []
    this.#frameBytes = 0
  }

  #sized(short: number, long: number, data: Uint8Array): void {
    if (data.length > 0xffffffff) throw new StarError('ERR_ARGUMENT', 'pickle: a value of 4 GiB or more was given')
    const head = data.length < 256 ? Uint8Array.of(short, data.length) : Buffer.alloc(5)
    if (data.length >= 256) {
      head[0] = long
      new DataView(head.buffer, head.byteOffset).setUint32(1, data.length, true)
    }
    if (data.length >= frameTarget) {
      this.#close()
      this.#done.push(head, data)
    } else {
      this.#add(head)
      this.#add(data)
    }
    this.#add(Uint8Array.of(0x94))
  }

  value(value: PickleValue): void {
    if (this.#frameBytes >= frameTarget) this.#close()
    if (value === null) this.#add(Uint8Array.of(0x4e))
    else if (typeof value === 'string') this.#sized(0x8c, 0x58, Buffer.from(value))
    else if (value instanceof Uint8Array) this.#sized(0x43, 0x42, value)
    else {
      this.#add(Uint8Array.of(0x5d, 0x94))
      if (value.length === 1) {
        this.value(value[0])
        this.#add(Uint8Array.of(0x61))
      } else {
        for (let start = 0; start < value.length; start += listBatch) {
          this.#add(Uint8Array.of(0x28))
          for (const item of value.slice(start, start + listBatch)) this.value(item)
          this.#add(Uint8Array.of(0x65))
        }
      }
    }
  }

  finish(): Uint8Array {
    this.#add(Uint8Array.of(0x2e))
    this.#close()
    return Buffer.concat(this.#done)
  }
}

/** Protocol 4 bytes of a value, as Python writes them when no object in it occurs twice. */
export function pickle(value: PickleValue): Uint8Array {
  const writer = new Writer()
  writer.value(value)
  return writer.finish()
}
