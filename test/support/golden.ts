/**
 * The golden folder: numbers computed by the reference implementation, and the values its README makes by rule
 * (test/golden/README.md).
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'
import { Tensor } from '../../lib/tensor/index.js'
import { testDevice } from './device.js'

export { testDevice } from './device.js'

export const goldenFolder: string = process.env.STAR_GOLDEN ?? join(packageRoot, 'test', 'golden')

interface Entry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}

/** A parameter made by rule: base + scale·signed(name, i). */
export interface RuleParameter {
  shape: number[]
  base: number
  scale: number
}

export class Golden {
  readonly metadata: Record<string, string>
  readonly #entries: Record<string, Entry>
  readonly #data: Buffer

  constructor(name: string) {
    const bytes = readFileSync(join(goldenFolder, `${name}.safetensors`))
    const length = Number(bytes.readBigUInt64LE(0))
    const { __metadata__, ...entries } = JSON.parse(bytes.toString('utf8', 8, 8 + length))
    this.metadata = __metadata__
    this.#entries = entries
    this.#data = bytes.subarray(8 + length)
  }

  get names(): string[] {
    return Object.keys(this.#entries)
  }

  json<T>(key: string): T {
    return JSON.parse(this.metadata[key]) as T
  }

  shape(name: string): number[] {
    return this.#entry(name).shape
  }

  values(name: string): Float32Array | Int32Array {
    const { dtype, data_offsets } = this.#entry(name)
    const bytes = Uint8Array.from(this.#data.subarray(...data_offsets)).buffer
    if (dtype === 'F32') return new Float32Array(bytes)
    if (dtype === 'I32') return new Int32Array(bytes)
    if (dtype === 'F16') return Float32Array.from(new Uint16Array(bytes), halfToFloat)
    throw new Error(`${name} is ${dtype}`)
  }

  tensor(name: string): Tensor {
    return Tensor.from(this.values(name), this.shape(name), { device: testDevice })
  }

  #entry(name: string): Entry {
    const entry = this.#entries[name]
    if (!entry) throw new Error(`no ${name} in the golden file`)
    return entry
  }
}

function halfToFloat(bits: number): number {
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  const size =
    exponent === 0x1f
      ? fraction === 0
        ? Number.POSITIVE_INFINITY
        : Number.NaN
      : exponent === 0
        ? fraction * 2 ** -24
        : (1024 + fraction) * 2 ** (exponent - 25)
  return bits & 0x8000 ? -size : size
}

/** The 32-bit words of a name. Loops by index here: `from` and `map` with a function take most of a golden case's time under an emulator. */
export function ruleWords(name: string, count: number): Uint32Array {
  let h = 0x811c9dc5
  for (const byte of Buffer.from(name, 'utf8')) h = Math.imul(h ^ byte, 0x01000193)
  const words = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    let x = Math.imul(i, 0x9e3779b9) ^ h
    x ^= x >>> 16
    x = Math.imul(x, 0x85ebca6b)
    x ^= x >>> 13
    x = Math.imul(x, 0xc2b2ae35)
    words[i] = x ^ (x >>> 16)
  }
  return words
}

export function ruleUniform(name: string, count: number): Float32Array {
  const words = ruleWords(name, count)
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) values[i] = (words[i] >>> 8) / 2 ** 24
  return values
}

export function ruleSigned(name: string, count: number): Float32Array {
  const values = ruleUniform(name, count)
  for (let i = 0; i < count; i++) values[i] = 2 * values[i] - 1
  return values
}

export function ruleParameter(name: string, { shape, base, scale }: RuleParameter): Tensor {
  const values = ruleSigned(
    name,
    shape.reduce((n, d) => n * d, 1),
  )
  const [from, by] = [Math.fround(base), Math.fround(scale)]
  for (let i = 0; i < values.length; i++) values[i] = from + by * values[i]
  return Tensor.from(values, shape, { device: testDevice })
}

/** ‖out − ref‖ / ‖ref‖ */
export function relativeError(out: ArrayLike<number>, ref: ArrayLike<number>): number {
  let difference = 0
  let norm = 0
  for (let i = 0; i < ref.length; i++) {
    difference += (out[i] - ref[i]) ** 2
    norm += ref[i] ** 2
  }
  return out.length === ref.length ? Math.sqrt(difference / norm) : Number.POSITIVE_INFINITY
}
