import t from 'tap'
import { type AttentionOptions, attention, backward, noGrad, scope, Tensor } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed, signedValues } from '../../support/gradcheck.js'

interface Size {
  batch: number
  heads: number
  dim: number
  lq: number
  lk: number
}

const masks = {
  none: () => ({}),
  /** Padding of different length in every sample, with a hole. */
  padding: ({ batch, lk }: Size) => ({
    keyMask: Tensor.from(
      Uint8Array.from({ length: batch * lk }, (_, i) => (i % lk > lk - 1 - Math.floor(i / lk) || i % lk === 2 ? 0 : 1)),
      [batch, lk],
    ),
  }),
  /** Scales of growing size: a query sees its own scale and the ones before. */
  limit: ({ lq, lk }: Size) => ({
    keyLimit: Tensor.from(
      Int32Array.from({ length: lq }, (_, i) => Math.min(lk, (Math.floor(Math.sqrt(i)) + 1) ** 2)),
      [lq],
    ),
  }),
  /** Limits in no order, some of them 0, and padding. */
  both: (size: Size) => ({
    ...masks.padding(size),
    keyLimit: Tensor.from(
      Int32Array.from({ length: size.lq }, (_, i) => (i * 37) % (size.lk + 2)),
      [size.lq],
    ),
  }),
}

interface Reference {
  out: Float64Array
  dq: Float64Array
  dk: Float64Array
  dv: Float64Array
}

/** The formula over the first `lk` keys and its derivative for a gradient `dout` of the result, in float64. */
function reference(
  [q, k, v]: readonly Tensor[],
  { batch, heads, dim, lq, lk }: Size,
  options: AttentionOptions,
  dout?: Float32Array,
): Reference {
  const [qs, ks, vs] = [q, k, v].map((x) => x.floats())
  const mask = options.keyMask?.data()
  const limit = options.keyLimit?.ints()
  const scale = options.scale ?? 1
  const capacity = k.shape[1]
  const result = {
    out: new Float64Array(qs.length),
    dq: new Float64Array(qs.length),
    dk: new Float64Array(ks.length),
    dv: new Float64Array(vs.length),
  }
  const dot = (a: Float32Array, i: number, b: Float32Array, j: number): number => {
    let sum = 0
    for (let c = 0; c < dim; c++) sum += a[i + c] * b[j + c]
    return sum
  }
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < lq; i++) {
        const at = ((b * lq + i) * heads + h) * dim
        const keyAt = (j: number): number => ((b * capacity + j) * heads + h) * dim
        const scores = Array.from({ length: lk }, (_, j) =>
          (mask && !mask[b * lk + j]) || (limit && j >= limit[i]) ? -Infinity : scale * dot(qs, at, ks, keyAt(j)),
        )
        const top = Math.max(...scores)
        if (top === -Infinity) continue
        const weights = scores.map((s) => Math.exp(s - top))
        const total = weights.reduce((sum, x) => sum + x, 0)
        const p = weights.map((w) => w / total)
        const dp = p.map((_, j) => (dout ? dot(dout, at, vs, keyAt(j)) : 0))
        const delta = p.reduce((sum, x, j) => sum + x * dp[j], 0)
        for (let j = 0; j < lk; j++) {
          const ds = scale * p[j] * (dp[j] - delta)
          for (let c = 0; c < dim; c++) {
            result.out[at + c] += p[j] * vs[keyAt(j) + c]
            result.dq[at + c] += ds * ks[keyAt(j) + c]
            result.dk[keyAt(j) + c] += ds * qs[at + c]
            if (dout) result.dv[keyAt(j) + c] += p[j] * dout[at + c]
          }
        }
      }
  return result
}

const sizes: Size[] = [
  { batch: 1, heads: 1, dim: 4, lq: 1, lk: 1 },
  { batch: 2, heads: 3, dim: 5, lq: 3, lk: 7 },
  { batch: 1, heads: 2, dim: 32, lq: 16, lk: 64 },
  { batch: 2, heads: 2, dim: 64, lq: 65, lk: 63 },
  { batch: 2, heads: 1, dim: 36, lq: 9, lk: 130 },
  { batch: 1, heads: 2, dim: 64, lq: 130, lk: 130 },
  { batch: 3, heads: 1, dim: 17, lq: 33, lk: 200 },
  { batch: 1, heads: 1, dim: 100, lq: 70, lk: 77 },
]
const describe = (s: Size): string => `batch ${s.batch}, ${s.heads} heads of ${s.dim}, ${s.lq} queries, ${s.lk} keys`
const inputs = (s: Size, capacity = s.lk): [Tensor, Tensor, Tensor] => [
  signed([s.batch, s.lq, s.heads, s.dim], 1, 2),
  signed([s.batch, capacity, s.heads, s.dim], 2, 2),
  signed([s.batch, capacity, s.heads, s.dim], 3),
]

for (const size of sizes)
  for (const [name, mask] of Object.entries(masks))
    t.test(`attention: ${describe(size)}, mask ${name}`, async (t) => {
      scope(() => {
        const [q, k, v] = inputs(size)
        const options: AttentionOptions = { scale: 0.7, ...mask(size) }
        const y = attention(q, k, v, options)
        t.strictSame(y.shape, q.shape)
        t.ok(relativeError(y, reference([q, k, v], size, options).out) < 2e-6)
      })
    })

t.test('attention over the first tokens of a cache', async (t) => {
  const size = sizes[3]
  scope(() => {
    const [q, k, v] = inputs(size, 100)
    t.ok(relativeError(attention(q, k, v, { keys: size.lk }), reference([q, k, v], size, {}).out) < 2e-6)
    q.requiresGrad = true
    t.throws(() => attention(q, k, v, { keys: size.lk }), { code: 'ERR_ARGUMENT', message: /63 of 100 cached tokens/ })
    t.strictSame(noGrad(() => attention(q, k, v, { keys: size.lk })).shape, q.shape)
  })
})

t.test('attention of far apart scores neither overflows nor loses the largest', async (t) => {
  scope(() => {
    const q = Tensor.from(new Float32Array(2 * 4).fill(100), [1, 2, 1, 4])
    const k = Tensor.from(
      Float32Array.from({ length: 90 * 4 }, (_, i) => Math.floor(i / 4) - 45),
      [1, 90, 1, 4],
    )
    const v = Tensor.from(
      Float32Array.from({ length: 90 * 4 }, (_, i) => Math.floor(i / 4)),
      [1, 90, 1, 4],
    )
    t.strictSame([...attention(q, k, v).floats()], new Array(8).fill(89))
  })
})

t.test('attention hands on what is not a number', async (t) => {
  scope(() => {
    const values = signedValues(40 * 8, 4)
    values[17] = Number.NaN
    const x = Tensor.from(values, [1, 40, 1, 8])
    t.ok(attention(x, x, x).floats().every(Number.isNaN))
  })
})

for (const size of sizes)
  for (const [name, mask] of Object.entries(masks))
    t.test(`attention gradients: ${describe(size)}, mask ${name}`, async (t) => {
      const tensors = inputs(size)
      for (const x of tensors) x.requiresGrad = true
      const options: AttentionOptions = { scale: 1 / Math.sqrt(size.dim), ...mask(size) }
      const dout = signedValues(tensors[0].count, 8)
      const expected = reference(tensors, size, options, dout)
      scope(() => {
        const [q, k, v] = tensors
        backward(attention(q, k, v, options), Tensor.from(dout, q.shape))
        t.ok(relativeError(q.grad!, expected.dq) < 1e-5, 'dq')
        t.ok(relativeError(k.grad!, expected.dk) < 1e-5, 'dk')
        t.ok(relativeError(v.grad!, expected.dv) < 1e-5, 'dv')
      })
      for (const x of tensors) x.dispose()
    })

for (const size of sizes.slice(0, 4))
  t.test(`attention gradients against differences: ${describe(size)}`, async (t) => {
    const tensors = inputs(size)
    for (const x of tensors) x.requiresGrad = true
    const options: AttentionOptions = { scale: 1 / Math.sqrt(size.dim), ...masks.limit(size) }
    t.ok(gradcheck((q, k, v) => attention(q, k, v, options), tensors, { step: 5e-2 }) < 3e-3)
    for (const x of tensors) x.dispose()
  })

t.test('attention refuses what does not fit', async (t) => {
  const q = signed([2, 3, 2, 4])
  t.throws(() => attention(q, signed([2, 5, 2, 3]), signed([2, 5, 2, 3])), {
    code: 'ERR_SHAPE',
    message: /k has shape/,
  })
  t.throws(() => attention(q, signed([2, 5, 2, 4]), signed([2, 6, 2, 4])), {
    code: 'ERR_SHAPE',
    message: /v has shape/,
  })
  const k = signed([2, 5, 2, 4])
  t.throws(() => attention(q, k, k, { keys: 6 }), { code: 'ERR_ARGUMENT', message: /keys is 6/ })
  t.throws(() => attention(q, k, k, { keyMask: Tensor.from(new Uint8Array(8), [2, 4]) }), {
    code: 'ERR_SHAPE',
    message: /keyMask/,
  })
  t.throws(() => attention(q, k, k, { keyLimit: signed([3]) }), { code: 'ERR_DTYPE', message: /keyLimit is f32/ })
})
