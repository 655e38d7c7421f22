/**
 * Reads Python pickles without running anything from them. A pickle is a program for a small stack machine; this one knows
 * the instructions that build plain values, and calls only what its caller listed by name. Any other instruction or name is
 * refused. Time and memory are bounded by the size of the pickle and by limits on its values, whatever it says.
 * The instructions are those of Python's pickletools.
 */
import { quoted, StarError } from '../native/error.js'
import { PickleSource } from './source.js'
import { isPickleKey, PickleGlobal, PickleTuple, type PickleValue } from './value.js'

export interface UnpickleOptions {
  /** What is read, as errors name it. */
  source: string
  /** What a readable one holds: the end of an error. */
  expected: string
  /** The names it may use. */
  globals: ReadonlyMap<string, PickleGlobal>
  /** The value of a persistent id, a reference to data outside the pickle; undefined where it does not fit. */
  persistent?: (id: PickleValue) => PickleValue | undefined
  /** Where it begins; default 0. */
  start?: number
}

/** Values of any kind, and lists, dictionaries and objects among them: many times what a checkpoint has. */
const maxValues = 4_000_000
const maxContainers = 500_000

const mark = Symbol('mark')
type StackItem = PickleValue | typeof mark

class Machine {
  readonly #source: PickleSource
  readonly #options: UnpickleOptions
  readonly #stack: StackItem[] = []
  readonly #memo = new Map<number, PickleValue>()
  #values = 0
  #containers = 0

  constructor(bytes: Uint8Array, options: UnpickleOptions) {
    this.#options = options
    this.#source = new PickleSource(bytes, options.start ?? 0, (detail) => this.#refuse(detail))
  }

  get position(): number {
    return this.#source.position
  }

  #refuse(detail: string): never {
    const { source, expected } = this.#options
    throw new StarError('ERR_FILE', `${source} cannot be read: ${detail}. ${expected}`)
  }

  /** Puts what is on the stack or in the memo already, or a mark, on the stack. */
  #place(item: StackItem): void {
    if (++this.#values > maxValues) this.#refuse(`it has more than ${maxValues} values`)
    this.#stack.push(item)
  }

  #push(value: PickleValue): void {
    if (!isPickleKey(value) && ++this.#containers > maxContainers)
      this.#refuse(`it has more than ${maxContainers} lists, dictionaries and objects`)
    this.#place(value)
  }

  #pop(): PickleValue {
    const item = this.#stack.pop()
    if (item === undefined || item === mark) this.#refuse('it takes more values than it gives')
    return item
  }

  #top(): PickleValue {
    const item = this.#stack.at(-1)
    if (item === undefined || item === mark) this.#refuse('it uses a value before there is one')
    return item
  }

  #toMark(): PickleValue[] {
    const at = this.#stack.lastIndexOf(mark)
    if (at < 0) this.#refuse('a mark is missing')
    const items = this.#stack.splice(at)
    items.shift()
    return items as PickleValue[]
  }

  #tuple(count: number): void {
    const items = Array.from({ length: count }, () => this.#pop())
    this.#push(new PickleTuple(items.reverse()))
  }

  #append(items: readonly PickleValue[]): void {
    const list = this.#top()
    if (!Array.isArray(list)) this.#refuse('it adds an item to what is not a list')
    for (const item of items) list.push(item)
  }

  #setItems(items: readonly PickleValue[]): void {
    const target = this.#top()
    if (!(target instanceof Map)) this.#refuse('it sets an item of what is not a dictionary')
    if (items.length % 2 !== 0) this.#refuse('a key of a dictionary has no value')
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]
      if (!isPickleKey(key)) this.#refuse('a key of a dictionary is neither text nor a number')
      target.set(key, items[i + 1])
    }
  }

  #remember(index: number): void {
    if (this.#memo.size >= maxValues) this.#refuse(`it remembers more than ${maxValues} values`)
    this.#memo.set(index, this.#top())
  }

  #recall(index: number): void {
    const item = this.#memo.get(index)
    if (item === undefined) this.#refuse(`it recalls value ${index}, which it never had`)
    this.#place(item)
  }

  #global(module: string, name: string): void {
    const known = this.#options.globals.get(`${module} ${name}`)
    if (!known) this.#refuse(`it names the Python object ${quoted(`${module}.${name}`)}`)
    this.#push(known)
  }

  #stackGlobal(): void {
    const name = this.#pop()
    const module = this.#pop()
    if (typeof name !== 'string' || typeof module !== 'string') this.#refuse('a name in it is not a text')
    this.#global(module, name)
  }

  #reduce(): void {
    const args = this.#pop()
    const callee = this.#pop()
    if (!(args instanceof PickleTuple)) this.#refuse('a call in it has no arguments')
    if (!(callee instanceof PickleGlobal) || !callee.call) this.#refuse('it calls what is no listed function')
    const result = callee.call(args.items)
    if (result === undefined) this.#refuse(`it calls ${callee.kind.replace(' ', '.')} with arguments that do not fit`)
    this.#push(result)
  }

  /** Attributes of a dictionary (`_metadata` of a state dict) are dropped; nothing else may have any. */
  #build(): void {
    this.#pop()
    if (!(this.#top() instanceof Map)) this.#refuse('it sets attributes of an object')
  }

  #persistent(): void {
    const value = this.#options.persistent?.(this.#pop())
    if (value === undefined) this.#refuse('it refers to data outside of it in an unknown way')
    this.#push(value)
  }

  run(): PickleValue {
    for (;;) {
      const code = this.#source.unsigned(1)
      if (code === 0x2e) break
      if (!this.#atom(code) && !this.#structure(code))
        this.#refuse(`it holds the instruction 0x${code.toString(16).padStart(2, '0')}`)
    }
    if (this.#stack.length !== 1) this.#refuse('it does not end in one value')
    return this.#pop()
  }

  /** Instructions that push a value without parts. */
  #atom(code: number): boolean {
    const source = this.#source
    switch (code) {
      case 0x4e:
        this.#push(null)
        return true
      case 0x88:
      case 0x89:
        this.#push(code === 0x88)
        return true
      case 0x4b:
        this.#push(source.unsigned(1))
        return true
      case 0x4d:
        this.#push(source.unsigned(2))
        return true
      case 0x4a:
        this.#push(source.int32())
        return true
      case 0x8a:
        this.#push(source.integer(source.unsigned(1)))
        return true
      case 0x8b:
        this.#push(source.integer(source.unsigned(4)))
        return true
      case 0x47:
        this.#push(source.float64())
        return true
      // The texts of Python 2 (U, T) are read as UTF-8, as torch.load reads them.
      case 0x8c:
      case 0x55:
        this.#push(source.text(source.unsigned(1)))
        return true
      case 0x58:
      case 0x54:
        this.#push(source.text(source.unsigned(4)))
        return true
      case 0x8d:
        this.#push(source.text(source.unsigned(8)))
        return true
      case 0x56:
        this.#push(source.escapedLine())
        return true
      case 0x43:
        this.#push(source.take(source.unsigned(1)))
        return true
      case 0x42:
        this.#push(source.take(source.unsigned(4)))
        return true
      case 0x8e:
        this.#push(source.take(source.unsigned(8)))
        return true
      default:
        return false
    }
  }

  /** Instructions that build values of others, name, call, remember and recall. */
  #structure(code: number): boolean {
    const source = this.#source
    switch (code) {
      case 0x80: {
        const protocol = source.unsigned(1)
        if (protocol > 5) this.#refuse(`its protocol ${protocol} is unknown`)
        return true
      }
      case 0x95: // a frame only says how much to read at once
        source.take(8)
        return true
      case 0x28:
        this.#place(mark)
        return true
      case 0x30:
        this.#pop()
        return true
      case 0x31:
        this.#toMark()
        return true
      case 0x5d:
        this.#push([])
        return true
      case 0x6c:
        this.#push(this.#toMark())
        return true
      case 0x61:
        this.#append([this.#pop()])
        return true
      // A set is read as a list of its items.
      case 0x8f:
        this.#push([])
        return true
      case 0x65:
      case 0x90:
        this.#append(this.#toMark())
        return true
      case 0x7d:
        this.#push(new Map())
        return true
      case 0x64: {
        const items = this.#toMark()
        this.#push(new Map())
        this.#setItems(items)
        return true
      }
      case 0x73: {
        const value = this.#pop()
        this.#setItems([this.#pop(), value])
        return true
      }
      case 0x75:
        this.#setItems(this.#toMark())
        return true
      case 0x29:
        this.#tuple(0)
        return true
      case 0x74:
        this.#push(new PickleTuple(this.#toMark()))
        return true
      case 0x85:
      case 0x86:
      case 0x87:
        this.#tuple(code - 0x84)
        return true
      case 0x63:
        this.#global(source.line(), source.line())
        return true
      case 0x93:
        this.#stackGlobal()
        return true
      case 0x52:
        this.#reduce()
        return true
      case 0x62:
        this.#build()
        return true
      case 0x51:
        this.#persistent()
        return true
      case 0x94:
        this.#remember(this.#memo.size)
        return true
      case 0x71:
        this.#remember(source.unsigned(1))
        return true
      case 0x72:
        this.#remember(source.unsigned(4))
        return true
      case 0x70:
        this.#remember(Number.parseInt(source.line(), 10))
        return true
      case 0x68:
        this.#recall(source.unsigned(1))
        return true
      case 0x6a:
        this.#recall(source.unsigned(4))
        return true
      case 0x67:
        this.#recall(Number.parseInt(source.line(), 10))
        return true
      default:
        return false
    }
  }
}

/**
 * The value of the pickle that begins at `start`, and the byte after its end. Bytes in it share the memory given.
 * @throws ERR_FILE for an instruction or name that is not known, and for one that is cut off or inconsistent
 */
export function unpickle(bytes: Uint8Array, options: UnpickleOptions): { value: PickleValue; end: number } {
  const machine = new Machine(bytes, options)
  const value = machine.run()
  return { value, end: machine.position }
}
