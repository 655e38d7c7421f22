/** Random numbers from an explicit, seedable source whose state fits in a checkpoint. */
import { native, StarError } from '../native/index.js'
import type { RandomName } from '../native/ops/random.js'
import { countOf, getDefaultDevice, type Shape, Tensor } from './tensor.js'

export interface RandomState {
  /** Whole numbers in decimal. */
  seed: string
  offset: string
}

/** Samples [begin, end) of `total`: those of one process in a batch of all. */
export interface Share {
  total: number
  begin: number
  end: number
}

export interface RandomOptions {
  device?: string
}

/** The upper 32 bits of a·b for unsigned 32-bit a and b. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const rest = aLow * bHigh + (middle & 0xffff)
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(rest / 65536)) >>> 0
}

/**
 * The four 32-bit words of one block of Philox4x32-10 (Salmon et al., 2011), as the native core makes them.
 * @param block a whole number below 2^53
 */
export function philox(seedLow: number, seedHigh: number, block: number): [number, number, number, number] {
  let [c0, c1, c2, c3] = [block >>> 0, Math.floor(block / 4294967296) >>> 0, 0, 0]
  let [k0, k1] = [seedLow >>> 0, seedHigh >>> 0]
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2)
    const low0 = Math.imul(0xd2511f53, c0)
    const low1 = Math.imul(0xcd9e8d57, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0 >>> 0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/**
 * A stream of random numbers. Equal seeds give equal numbers on every device and with any number of threads; `state` says where
 * the stream stands.
 */
export class Random {
  readonly #low: number
  readonly #high: number
  #offset = 0

  /** @throws ERR_ARGUMENT when the seed is not a whole number */
  constructor(seed: number | bigint) {
    if (typeof seed === 'number' && !Number.isSafeInteger(seed))
      throw new StarError(
        'ERR_ARGUMENT',
        `Random: the seed is ${seed}, expected a whole number up to 2^53, or a bigint`,
      )
    const bits = BigInt.asUintN(64, BigInt(seed))
    this.#low = Number(bits & 0xffffffffn)
    this.#high = Number(bits >> 32n)
  }

  #tensor(kind: RandomName, shape: Shape, a: number, b: number, options: RandomOptions): Tensor {
    const handle = native.random(
      shape,
      options.device ?? getDefaultDevice(),
      kind,
      a,
      b,
      this.#low,
      this.#high,
      this.#offset,
    )
    this.#offset += Math.ceil(countOf(shape) / 4)
    return new Tensor(handle)
  }

  /** Uniform in [lo, hi). */
  uniform(shape: Shape, { lo = 0, hi = 1, ...options }: { lo?: number; hi?: number } & RandomOptions = {}): Tensor {
    return this.#tensor('uniform', shape, lo, hi, options)
  }

  /** mean + std·z, z standard normal. */
  normal(
    shape: Shape,
    { mean = 0, std = 1, ...options }: { mean?: number; std?: number } & RandomOptions = {},
  ): Tensor {
    return this.#tensor('normal', shape, mean, std, options)
  }

  /** mean + std·z, z standard normal on the condition |z| ≤ 2. */
  truncatedNormal(
    shape: Shape,
    { mean = 0, std = 1, ...options }: { mean?: number; std?: number } & RandomOptions = {},
  ): Tensor {
    return this.#tensor('truncatedNormal', shape, mean, std, options)
  }

  /** −log(−log u), u uniform in (0, 1). */
  gumbel(shape: Shape, options: RandomOptions = {}): Tensor {
    return this.#tensor('gumbel', shape, 0, 1, options)
  }

  /** A number in [0, 1) with 53 random bits, on the host. */
  next(): number {
    const [a, b] = philox(this.#low, this.#high, this.#offset++)
    return ((a >>> 5) * 67108864 + (b >>> 6)) / 9007199254740992
  }

  /** A whole number in [0, n). @throws ERR_ARGUMENT unless n is a whole number of 1 or more */
  integer(n: number): number {
    if (!Number.isSafeInteger(n) || n < 1)
      throw new StarError('ERR_ARGUMENT', `Random.integer: n is ${n}, expected a whole number of 1 or more`)
    return Math.floor(this.next() * n)
  }

  /** Passes over so many numbers of `next` or `integer`, without drawing them. */
  skip(count: number): void {
    this.#offset += count
  }

  /** Puts the elements in a random order, in place (Fisher and Yates), and returns the array. */
  shuffle<A extends unknown[] | Int32Array | Uint32Array | Float32Array | Float64Array>(array: A): A {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      const held = array[i]
      array[i] = array[j]
      array[j] = held
    }
    return array
  }

  /** Position in the stream, for `Random.restore`. */
  state(): RandomState {
    return { seed: String((BigInt(this.#high) << 32n) | BigInt(this.#low)), offset: String(this.#offset) }
  }

  /** @throws ERR_ARGUMENT when the state is not one that `state` gave */
  static restore(state: RandomState): Random {
    const whole = /^\d{1,20}$/
    if (
      !whole.test(state.seed) ||
      !whole.test(state.offset) ||
      BigInt(state.seed) >> 64n !== 0n ||
      !Number.isSafeInteger(Number(state.offset))
    )
      throw new StarError(
        'ERR_ARGUMENT',
        `Random.restore: the state ${JSON.stringify(state)} is not one that Random.state gave`,
      )
    const random = new Random(BigInt(state.seed))
    random.#offset = Number(state.offset)
    return random
  }
}
