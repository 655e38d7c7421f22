/** Random damage to bytes: what a disk, a network or an attacker might do, without knowing the format. */
import { Random } from '../../lib/tensor/index.js'

const general: readonly string[] = [
  ...[
    '\0\0\0\0',
    '\xff\xff\xff\xff',
    '\xff\xff\xff\x7f',
    '\0\0\0\x80',
    '\0\0\0\0\0\0\0\x80',
    '\n',
    '\r\n',
    '..',
    '/',
    '%',
    '"',
  ],
  ...[
    '-1',
    '0',
    '1e999',
    '9007199254740993',
    '4294967296',
    'NaN',
    'null',
    'true',
    '[]',
    '{}',
    '[[[[',
    '{"a":',
    '\\u0000',
  ],
  ...['\xef\xbb\xbf', '\xed\xa0\x80', '\xf0\x9f\x92\xa9', '\u202e', '__proto__', 'constructor', '\x1b[2J'],
]

export class Mutator {
  readonly #random: Random
  readonly #pieces: readonly Buffer[]

  constructor(
    seed: number,
    pieces: readonly string[] = [],
    /** Longest input made. */
    readonly longest = 1 << 18,
  ) {
    this.#random = new Random(seed)
    this.#pieces = [...general, ...pieces, ...pieces].map((piece) => Buffer.from(piece, 'latin1'))
  }

  below(n: number): number {
    return Math.floor(this.#random.next() * n)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }

  mutate(bytes: Buffer, others: readonly Buffer[]): Buffer {
    let out: Buffer = Buffer.from(bytes)
    for (let n = 1 + this.below(this.below(4) === 0 ? 12 : 3); n > 0; n--) out = this.#step(out, others)
    return out.length > this.longest ? out.subarray(0, this.longest) : out
  }

  #step(out: Buffer, others: readonly Buffer[]): Buffer {
    const at = this.below(out.length + 1)
    const end = Math.min(out.length, at + this.below(this.below(8) === 0 ? out.length + 1 : 40))
    const splice = (middle: Buffer, from = at, to = end): Buffer =>
      Buffer.concat([out.subarray(0, from), middle, out.subarray(to)])
    switch (this.below(10)) {
      case 0:
        if (at < out.length) out[at] ^= 1 << this.below(8)
        return out
      case 1:
        if (at < out.length) out[at] = this.pick([0, 1, 127, 128, 255, this.below(256)])
        return out
      case 2: {
        // A number of two, four or eight bytes a little larger or smaller.
        const size = this.pick([1, 2, 4])
        if (at + size > out.length) return out
        const little = this.below(2) === 0
        const value = (little ? out.readUIntLE(at, size) : out.readUIntBE(at, size)) + this.below(71) - 35
        const wrapped = ((value % 256 ** size) + 256 ** size) % 256 ** size
        if (little) out.writeUIntLE(wrapped, at, size)
        else out.writeUIntBE(wrapped, at, size)
        return out
      }
      case 3:
        return splice(this.pick(this.#pieces), at, at)
      case 4:
        return splice(this.pick(this.#pieces))
      case 5:
        return splice(Buffer.alloc(0))
      case 6: {
        // The same again, now and then very often: depth and length.
        const piece = out.subarray(at, end)
        const times = this.below(50) === 0 ? 1 + this.below(Math.ceil(this.longest / 4 / Math.max(1, piece.length))) : 2
        return splice(Buffer.concat(Array.from({ length: Math.min(times, 60_000) }, () => piece)))
      }
      case 7: {
        const other = this.pick(others)
        const from = this.below(other.length + 1)
        return splice(other.subarray(from, from + this.below(80)))
      }
      case 8:
        return out.subarray(0, at)
      default: {
        // A decimal number becomes another one.
        const text = out.toString('latin1')
        const numbers = [...text.slice(0, 20_000).matchAll(/-?\d+(\.\d+)?/g)]
        if (numbers.length === 0) return out
        const { index, 0: number } = this.pick(numbers)
        const other = this.pick([
          '0',
          '-1',
          '1',
          '1e9',
          '2147483648',
          '1e308',
          '0.5',
          `${Number(number) + 1}`,
          '65536',
          '1e-320',
        ])
        return splice(Buffer.from(other), index, index + number.length)
      }
    }
  }
}
