/** Values for calls of the addon, most of which fit each other: numbers, tensors, and anything else, chosen by the bytes of an input. */
import type { DType } from '../../../lib/native/dtype.js'
import { type NativeTensor, native } from '../../../lib/native/index.js'

export type Shape = number[]

/** Numbers out of the input; zeros behind its end. */
class Dice {
  #at = 0
  constructor(readonly bytes: Uint8Array) {}
  get left(): number {
    return this.bytes.length - this.#at
  }
  byte(): number {
    return this.bytes[this.#at++] ?? 0
  }
  below(n: number): number {
    return (this.byte() * 256 + this.byte()) % n
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }
  chance(percent: number): boolean {
    return this.byte() < percent * 2.56
  }
}

export const floats = [0, 1, -1, 0.5, 1e-6, 3, -0, NaN, Infinity, -Infinity, 1e38, 1e-45]
/** As sizes these are either small or more than any machine has. */
export const integers = [
  0,
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  16,
  33,
  -1,
  -2,
  2 ** 36,
  2 ** 40,
  2 ** 53 - 1,
  -(2 ** 53) + 1,
  0.5,
  NaN,
  Infinity,
]
const dims = [1, 2, 3, 4, 5, 8, 16, 17, 33]
export const types: readonly DType[] = ['f32', 'f32', 'f32', 'f16', 'bf16', 'i32', 'u8', 'i8']

export class Values {
  readonly dice: Dice
  /** Tensors that are there, to be used again. */
  readonly made: NativeTensor[] = []
  readonly #type: DType
  readonly #sides: readonly number[]

  constructor(bytes: Uint8Array) {
    this.dice = new Dice(bytes)
    this.#type = this.dice.pick(['f32', 'f32', 'f16', 'bf16'] as const)
    this.#sides = [this.#dim(), this.#dim(), this.#dim()]
  }

  #dim(): number {
    return this.dice.pick(dims)
  }

  /** One of the few sides of this program, so that tensors fit. */
  side(): number {
    return this.dice.chance(92) ? this.dice.pick(this.#sides) : this.dice.chance(50) ? 0 : this.#dim()
  }

  shape(rank = this.dice.below(5)): Shape {
    return Array.from({ length: rank }, () => this.side())
  }

  /** Elements by a rule that one byte of the input chooses, so that an input is long enough for many calls. */
  tensor(shape: Shape, type: DType = this.#type, top = 0): NativeTensor {
    const tensor = native.empty(shape, type, 'cpu')
    this.made.push(tensor)
    const bytes = tensor.read().byteLength
    let state = this.dice.byte()
    const odd = state % 4 === 0
    const next = (n: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return (state >>> 8) % n
    }
    const strange = (): boolean => odd && next(16) === 0
    const values = <T>(count: number, usual: () => T, wrong: () => T): T[] =>
      Array.from({ length: count }, () => (strange() ? wrong() : usual()))
    if (type === 'i32')
      tensor.write(
        Int32Array.from(
          values(
            bytes / 4,
            () => next(Math.max(1, top)),
            () => [-1, 2e9, -2e9, top][next(4)],
          ),
        ),
      )
    else if (type === 'u8')
      tensor.write(
        Uint8Array.from(
          values(
            bytes,
            () => next(2),
            () => 255,
          ),
        ),
      )
    else if (type === 'i8')
      tensor.write(
        Int8Array.from(
          values(
            bytes,
            () => next(255) - 127,
            () => -128,
          ),
        ),
      )
    else if (type === 'f32')
      tensor.write(
        Float32Array.from(
          values(
            bytes / 4,
            () => next(256) / 64 - 2,
            () => floats[next(floats.length)],
          ),
        ),
      )
    else
      tensor.write(
        Uint16Array.from(
          values(
            bytes / 2,
            () => 0x3c00,
            () => next(65_536),
          ),
        ),
      )
    return tensor
  }

  anything(): unknown {
    const dice = this.dice
    switch (dice.below(14)) {
      case 0:
        return dice.pick(integers)
      case 1:
        return dice.pick(floats)
      case 2:
        return null
      case 3:
        return undefined
      case 4:
        return dice.pick(['cpu', 'add', 'sum', 'f32', 'silu', '', 'nowhere', '\0'])
      case 5:
        return this.made.length > 0 ? dice.pick(this.made) : {}
      case 6:
        return this.tensor(this.shape(), dice.pick(types), 4)
      case 7: {
        const released = native.empty([1], 'f32', 'cpu')
        released.release()
        return released
      }
      case 8:
        return Array.from({ length: dice.below(10) }, () => dice.pick(integers))
      case 9:
        return Array.from({ length: dice.below(3) }, () => this.tensor(this.shape(), dice.pick(types), 4))
      case 10: {
        // A getter that releases what was read before it.
        const list: unknown[] = [1, 1, 1]
        const made = this.made
        Object.defineProperty(list, 1, {
          get: () => {
            for (const tensor of made) tensor.release()
            native.trimMemory('cpu')
            return 1
          },
        })
        return list
      }
      case 11:
        return new Float32Array(dice.below(4))
      case 12: {
        const list: unknown[] = []
        list.length = 2 ** 32 - 1
        return list
      }
      default:
        return {}
    }
  }
}
