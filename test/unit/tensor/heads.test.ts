import t from 'tap'
import { concat, type HeadSpec, reshape, scope, splitHeads, Tensor, writeHeads } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

/** (cos, sin) of angles that differ by token and pair. */
const ropeTable = (length: number, dim: number): Tensor =>
  Tensor.from(
    Float32Array.from({ length: length * dim }, (_, i) => {
      const angle = (1 + Math.floor(i / dim)) * 0.37 + Math.floor((i % dim) / 2) * 0.11
      return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)
    }),
    [length, dim / 2, 2],
  )

/** One part in float64. */
function reference(x: Tensor, heads: number, parts: number, part: number, spec: HeadSpec): number[] {
  const [batch, length, width] = x.shape
  const dim = width / (heads * parts)
  const values = x.floats()
  const out: number[] = []
  for (let token = 0; token < batch * length; token++)
    for (let h = 0; h < heads; h++) {
      const at = ((token * parts + part) * heads + h) * dim
      let row = Array.from(values.subarray(at, at + dim))
      if (spec.l2Norm) {
        const norm = Math.max(Math.hypot(...row), 1e-12)
        const factor = spec.logScale ? Math.exp(Math.min(spec.logScale.floats()[h], Math.log(100))) : 1
        row = row.map((v) => (v / norm) * factor)
      }
      if (spec.rope) {
        const table = spec.rope.floats().subarray((token % length) * dim)
        row = row.map((v, i) =>
          i % 2 === 0 ? v * table[i] - row[i + 1] * table[i + 1] : row[i - 1] * table[i] + v * table[i - 1],
        )
      }
      out.push(...row)
    }
  return out
}

const sizes: [number, number, number, number][] = [
  [1, 1, 1, 2],
  [2, 3, 2, 6],
  [2, 5, 3, 16],
  [1, 7, 2, 20],
  [2, 4, 6, 64],
  [1, 3, 2, 34],
  [3, 70, 4, 32],
]

for (const [batch, length, heads, dim] of sizes)
  t.test(`splitHeads of ${batch} × ${length} tokens into ${heads} heads of ${dim}`, async (t) => {
    scope(() => {
      const x = signed([batch, length, 3 * heads * dim], 4)
      const rope = ropeTable(length, dim)
      const specs: HeadSpec[] = [{ l2Norm: true, logScale: signed([1, heads, 1, 1], 9, 2), rope }, { l2Norm: true }, {}]
      for (const parts of [specs, [{ rope }, { l2Norm: true, rope }, specs[0]]]) {
        const outputs = splitHeads(x, heads, parts)
        outputs.forEach((y, i) => {
          t.strictSame(y.shape, [batch, length, heads, dim])
          t.ok(relativeError(y, reference(x, heads, 3, i, parts[i])) < 1e-6, `part ${i}`)
        })
        const cache = Tensor.from(new Float32Array(batch * (length + 4) * heads * dim).fill(7), [
          batch,
          length + 4,
          heads,
          dim,
        ])
        writeHeads(x, heads, 3, 0, parts[0], cache, 3)
        const cached = cache.floats()
        const direct = outputs[0].floats()
        const token = heads * dim
        for (let b = 0; b < batch; b++) {
          const row = cached.subarray(b * (length + 4) * token, (b + 1) * (length + 4) * token)
          t.strictSame(
            row.subarray(3 * token, (3 + length) * token),
            direct.subarray(b * length * token, (b + 1) * length * token),
          )
          t.ok(
            [...row.subarray(0, 3 * token), ...row.subarray((3 + length) * token)].every((v) => v === 7),
            'others untouched',
          )
        }
      }
    })
  })

for (const [batch, length, heads, dim] of sizes.slice(0, 6))
  t.test(`splitHeads gradients, ${batch} × ${length} tokens, ${heads} heads of ${dim}`, async (t) => {
    const x = signed([batch, length, 3 * heads * dim], 4)
    const logScale = signed([heads], 9, 1)
    x.requiresGrad = true
    logScale.requiresGrad = true
    const rope = ropeTable(length, dim)
    const all = (x: Tensor, logScale: Tensor): Tensor => {
      const [q, k, v] = splitHeads(x, heads, [{ l2Norm: true, logScale, rope }, { l2Norm: true, rope }, {}])
      return concat([q, k, v], 3)
    }
    t.ok(gradcheck(all, [x, logScale], { step: 3e-3 }) < 5e-3)
    const one = (x: Tensor, logScale: Tensor): Tensor =>
      splitHeads(x, heads, [{}, { l2Norm: true, logScale }, { rope }])[1]
    t.ok(gradcheck(one, [x, logScale], { step: 3e-3 }) < 5e-3, 'parts without a gradient')
    const plain = (x: Tensor): Tensor => reshape(splitHeads(x, heads, [{ rope }, {}, {}])[0], [-1])
    t.ok(gradcheck(plain, [x]) < 2e-3, 'rotation alone')
  })

t.test('a logarithmic scale past ln 100 is clamped and gets no gradient', async (t) => {
  const x = signed([1, 2, 8], 2)
  const logScale = Tensor.from([5, 1], [2])
  logScale.requiresGrad = true
  const y = scope(() => splitHeads(x, 2, [{ l2Norm: true, logScale }])[0].floats())
  t.ok(Math.abs(Math.hypot(...y.subarray(0, 4)) - 100) < 1e-3)
  t.ok(gradcheck((s) => splitHeads(x, 2, [{ l2Norm: true, logScale: s }])[0], [logScale], { step: 1e-3 }) < 5e-3)
  logScale.dispose()
})

t.test('a head of zeros stays zero and its gradient is finite', async (t) => {
  const x = Tensor.from(new Float32Array(8), [1, 1, 8])
  x.requiresGrad = true
  scope(() =>
    t.ok(
      splitHeads(x, 2, [{ l2Norm: true }])[0]
        .floats()
        .every((v) => v === 0),
    ),
  )
  x.dispose()
})

t.test('splitHeads and writeHeads refuse what does not fit', async (t) => {
  const x = signed([2, 3, 12])
  t.throws(() => splitHeads(x, 5, [{}]), { code: 'ERR_SHAPE', message: /divides into 1 parts of 5 heads/ })
  t.throws(() => splitHeads(x, 2, [{ l2Norm: true, logScale: signed([3]) }]), {
    code: 'ERR_SHAPE',
    message: /one element a head/,
  })
  t.throws(() => splitHeads(x, 2, [{ logScale: signed([2]) }]), { code: 'ERR_ARGUMENT', message: /without l2Norm/ })
  t.throws(() => splitHeads(x, 2, [{ rope: signed([3, 2, 2]) }]), {
    code: 'ERR_SHAPE',
    message: /expected \(3, 3, 2\)/,
  })
  t.throws(() => splitHeads(x, 4, [{ rope: signed([3, 1, 2]) }]), { code: 'ERR_SHAPE', message: /no pairs/ })
  t.throws(() => writeHeads(x, 2, 1, 0, {}, signed([2, 4, 2, 6]), 2), {
    code: 'ERR_ARGUMENT',
    message: /tokens 2 to 5/,
  })
})
