/** The bytes of a pickle, read from front to back. */

/** Longest integer that is read, in bytes: one of more digits than any checkpoint holds takes long to convert. */
const maxIntegerBytes = 255

export class PickleSource {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #refuse: (detail: string) => never
  #position: number

  /** @param refuse throws the error with what is wrong */
  constructor(bytes: Uint8Array, start: number, refuse: (detail: string) => never) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#position = start
    this.#refuse = refuse
  }

  get position(): number {
    return this.#position
  }

  /** The next bytes, not copied. */
  take(count: number): Uint8Array {
    if (count > this.#bytes.length - this.#position)
      this.#refuse(`it ends after ${this.#bytes.length} bytes, in the middle of a value`)
    this.#position += count
    return this.#bytes.subarray(this.#position - count, this.#position)
  }

  unsigned(size: 1 | 2 | 4 | 8): number {
    this.take(size)
    const start = this.#position - size
    if (size === 1) return this.#view.getUint8(start)
    if (size === 2) return this.#view.getUint16(start, true)
    if (size === 4) return this.#view.getUint32(start, true)
    return Number(this.#view.getBigUint64(start, true))
  }

  int32(): number {
    this.take(4)
    return this.#view.getInt32(this.#position - 4, true)
  }

  /** Big-endian, unlike the integers. */
  float64(): number {
    this.take(8)
    return this.#view.getFloat64(this.#position - 8)
  }

  /** A two's complement integer of any length. */
  integer(length: number): number | bigint {
    if (length > maxIntegerBytes)
      this.#refuse(`an integer in it has ${length} bytes, at most ${maxIntegerBytes} are read`)
    const bytes = this.take(length)
    let value = 0n
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i])
    value = BigInt.asIntN(8 * length, value)
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
  }

  text(length: number): string {
    const bytes = this.take(length)
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      return this.#refuse('a text in it is not UTF-8')
    }
  }

  /** Up to the next end of line, which is skipped. */
  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position)
    if (end < 0) this.#refuse('a line in it does not end')
    const text = Buffer.from(this.take(end - this.#position)).toString('latin1')
    this.#position++
    return text
  }

  /** A line in Python's raw-unicode-escape. */
  escapedLine(): string {
    return this.line().replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) => {
      const point = Number.parseInt(short ?? long ?? '', 16)
      if (point > 0x10ffff) this.#refuse('a text in it has a character that does not exist')
      return String.fromCodePoint(point)
    })
  }
}
