/**
 * Python pickles of str, bytes, lists of them and None: what the packs of the STAR authors hold. Reading covers every
 * protocol that Python writes for these and runs no code from the file: anything else in it is an error. Writing gives
 * the bytes of Python's protocol 4.
 */
import { StarError } from '../native/index.js'

export type PickleValue = string | Uint8Array | null | PickleValue[]

const frameTarget = 65536
const listBatch = 1000

function refuse(detail: string): never {
  throw new StarError(
    'ERR_FILE',
    `a pickled value cannot be read: ${detail}. A pack holds pickled text, bytes and lists only`,
  )
}

/** What the stack can hold beside values: marks, argument tuples, and the two functions old protocols spell bytes with. */
class Tuple {
  constructor(readonly items: StackItem[]) {}
}
const mark = Symbol('mark')
const encodeFunction = Symbol('_codecs.encode')
const bytesFunction = Symbol('bytes')
type StackItem = PickleValue | Tuple | typeof mark | typeof encodeFunction | typeof bytesFunction

const functions: Record<string, typeof encodeFunction | typeof bytesFunction> = {
  '_codecs encode': encodeFunction,
  '__builtin__ bytes': bytesFunction,
  'builtins bytes': bytesFunction,
}

const isValue = (item: StackItem): item is PickleValue => typeof item !== 'symbol' && !(item instanceof Tuple)

class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #stack: StackItem[] = []
  readonly #memo = new Map<number, StackItem>()
  #position = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #take(count: number): Uint8Array {
    if (count > this.#bytes.length - this.#position)
      refuse(`it ends after ${this.#bytes.length} bytes, in the middle of a value`)
    this.#position += count
    return this.#bytes.subarray(this.#position - count, this.#position)
  }

  #unsigned(size: 1 | 4 | 8): number {
    this.#take(size)
    const start = this.#position - size
    if (size === 1) return this.#view.getUint8(start)
    if (size === 4) return this.#view.getUint32(start, true)
    return Number(this.#view.getBigUint64(start, true))
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position)
    if (end < 0) refuse('a line in it does not end')
    const text = Buffer.from(this.#take(end - this.#position)).toString('latin1')
    this.#position++
    return text
  }

  #text(length: number): string {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#take(length))
    } catch (error) {
      if (error instanceof StarError) throw error
      return refuse('a text in it is not UTF-8')
    }
  }

  #pop(): StackItem {
    const item = this.#stack.pop()
    if (item === undefined) refuse('it takes more values than it gives')
    return item
  }

  #toMark(): StackItem[] {
    const at = this.#stack.lastIndexOf(mark)
    if (at < 0) refuse('a mark is missing')
    const items = this.#stack.splice(at)
    items.shift()
    return items
  }

  #extend(items: StackItem[]): void {
    const list = this.#stack.at(-1)
    if (!Array.isArray(list)) refuse('it adds an item to what is not a list')
    for (const item of items) {
      if (!isValue(item)) refuse('a list holds something other than text, bytes and lists')
      list.push(item)
    }
  }

  #remember(index: number): void {
    const item = this.#stack.at(-1)
    if (item === undefined) refuse('it remembers a value before there is one')
    this.#memo.set(index, item)
  }

  #recall(index: number): void {
    const item = this.#memo.get(index)
    if (item === undefined) refuse(`it recalls value ${index}, which it never had`)
    this.#stack.push(item)
  }

  /** Calls one of the two functions that spell bytes; nothing else can be on the stack as a function. */
  #reduce(): void {
    const args = this.#pop()
    const callee = this.#pop()
    if (!(args instanceof Tuple)) refuse('a call in it has no arguments')
    const [text, encoding] = args.items
    if (callee === bytesFunction && args.items.length === 0) this.#stack.push(new Uint8Array(0))
    else if (callee === encodeFunction && args.items.length === 2 && typeof text === 'string' && encoding === 'latin1')
      this.#stack.push(Uint8Array.from(Buffer.from(text, 'latin1')))
    else refuse('it calls a function')
  }

  read(): PickleValue {
    for (;;) {
      const code = this.#unsigned(1)
      switch (code) {
        case 0x80: {
          const version = this.#unsigned(1)
          if (version > 5) refuse(`it is of protocol ${version}, at most 5 is known`)
          break
        }
        case 0x95: // FRAME: the length of what follows, which the opcodes tell as well
          this.#unsigned(8)
          break
        case 0x2e: {
          const value = this.#pop()
          if (!isValue(value) || this.#stack.length > 0) refuse('it does not end in one value')
          if (this.#position !== this.#bytes.length)
            refuse(`${this.#bytes.length - this.#position} bytes follow its end`)
          return value
        }
        case 0x4e:
          this.#stack.push(null)
          break
        case 0x8c:
          this.#stack.push(this.#text(this.#unsigned(1)))
          break
        case 0x58:
          this.#stack.push(this.#text(this.#unsigned(4)))
          break
        case 0x8d:
          this.#stack.push(this.#text(this.#unsigned(8)))
          break
        case 0x56: // raw-unicode-escape
          this.#stack.push(
            this.#line().replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) => {
              const point = Number.parseInt(short ?? long!, 16)
              if (point > 0x10ffff) refuse('a text in it has a character that does not exist')
              return String.fromCodePoint(point)
            }),
          )
          break
        case 0x43:
          this.#stack.push(this.#take(this.#unsigned(1)))
          break
        case 0x42:
          this.#stack.push(this.#take(this.#unsigned(4)))
          break
        case 0x8e:
          this.#stack.push(this.#take(this.#unsigned(8)))
          break
        case 0x5d:
          this.#stack.push([])
          break
        case 0x28:
          this.#stack.push(mark)
          break
        case 0x61:
          this.#extend([this.#pop()])
          break
        case 0x65:
          this.#extend(this.#toMark())
          break
        case 0x6c: {
          const items = this.#toMark()
          this.#stack.push([])
          this.#extend(items)
          break
        }
        case 0x29:
          this.#stack.push(new Tuple([]))
          break
        case 0x74:
          this.#stack.push(new Tuple(this.#toMark()))
          break
        case 0x86: {
          const second = this.#pop()
          this.#stack.push(new Tuple([this.#pop(), second]))
          break
        }
        case 0x63: {
          const name = `${this.#line()} ${this.#line()}`
          if (!Object.hasOwn(functions, name)) refuse(`it names the Python object ${JSON.stringify(name.slice(0, 80))}`)
          this.#stack.push(functions[name])
          break
        }
        case 0x52:
          this.#reduce()
          break
        case 0x94:
          this.#remember(this.#memo.size)
          break
        case 0x71:
          this.#remember(this.#unsigned(1))
          break
        case 0x72:
          this.#remember(this.#unsigned(4))
          break
        case 0x70:
          this.#remember(Number.parseInt(this.#line(), 10))
          break
        case 0x68:
          this.#recall(this.#unsigned(1))
          break
        case 0x6a:
          this.#recall(this.#unsigned(4))
          break
        case 0x67:
          this.#recall(Number.parseInt(this.#line(), 10))
          break
        default:
          refuse(`it holds the operation 0x${code.toString(16)}`)
      }
    }
  }
}

/**
 * The value of a pickle of str, bytes, None or lists of them. Bytes share the memory given.
 * @throws ERR_FILE for anything else, cut off data included
 */
export function unpickle(bytes: Uint8Array): PickleValue {
  return new Reader(bytes).read()
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
