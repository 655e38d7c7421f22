/** Numbers made from a name and an index, the same on both sides (test/golden/README.md gives the rule). */
import { copyWeight, type Module, weightOfScale } from '../lib/nn/index.js'
import { type Shape, scaleName, scope, Tensor } from '../lib/tensor/index.js'

const prefix = 'bench:'

/** float32 in [0, 1). */
export function uniform(name: string, count: number): Float32Array {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(prefix + name, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193)
  const out = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    let x = Math.imul(i, 0x9e3779b9) ^ hash
    x ^= x >>> 16
    x = Math.imul(x, 0x85ebca6b)
    x ^= x >>> 13
    x = Math.imul(x, 0xc2b2ae35)
    x ^= x >>> 16
    out[i] = (x >>> 8) / 2 ** 24
  }
  return out
}

/** base + scale·signed(name, i), rounded to float32 after each operation. */
export function signed(name: string, count: number, base = 0, scale = 1): Float32Array {
  const out = uniform(name, count)
  const [b, s] = [Math.fround(base), Math.fround(scale)]
  for (let i = 0; i < count; i++) out[i] = b + Math.fround(s * (2 * out[i] - 1))
  return out
}

export const signedTensor = (name: string, shape: Shape): Tensor =>
  Tensor.from(
    signed(
      name,
      shape.reduce((n, d) => n * d, 1),
    ),
    shape,
  )

/** Base and scale of a parameter; bench/twin/serve.py says the same. */
export function parameterRange(name: string, shape: Shape): [base: number, scale: number] {
  if (name.endsWith('zero_k_bias') || name.endsWith('ema_vocab_hit_SV')) return [0, 0]
  if (name.endsWith('scale_mul_1H11')) return [Math.log(4), 0.1]
  if (name.includes('norm')) return name.endsWith('weight') ? [1, 0.1] : [0, 0.1]
  if (name === 'pos_start' || name === 'lvl_embed.weight') return [0, 0.5]
  if (name.endsWith('embedding.weight')) return [0, 1]
  if (shape.length === 1) return [0, 0.1]
  // T5 has no factor on the scores: its q is small instead.
  const part = name.endsWith('SelfAttention.q.weight') ? 0.125 : 1
  return [0, part * Math.sqrt(3 / shape.slice(1).reduce((n, d) => n * d, 1))]
}

/** Writes the values of the rule into a module's tensors of whatever type: 8-bit matrices and their scales are made of those values. */
export function fillModule(module: Module, names = /./): void {
  const own = new Map(Array.from(module.namedTensors(), ({ name, tensor }) => [name, tensor] as const))
  for (const [name, tensor] of own) {
    if (!names.test(name) || weightOfScale(name, own) !== null) continue
    scope(() => {
      const values = signed(name, tensor.count, ...parameterRange(name, tensor.shape))
      const scale = tensor.dtype === 'i8' ? own.get(scaleName(name)) : undefined
      copyWeight({ tensor, scale }, { tensor: Tensor.from(values, tensor.shape), scale: undefined })
    })
  }
}
