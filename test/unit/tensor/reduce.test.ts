import t from 'tap'
import { native } from '../../../lib/native/index.js'
import { mae, max, mean, mse, mulSum, scope, sum, sumRows, Tensor, zeros } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

const kinds = {
  sum: { f: (v: number) => v, join: (a: number, b: number) => a + b, start: 0 },
  sumSquares: { f: (v: number) => v * v, join: (a: number, b: number) => a + b, start: 0 },
  sumAbs: { f: (v: number) => Math.abs(v), join: (a: number, b: number) => a + b, start: 0 },
  max: { f: (v: number) => v, join: Math.max, start: Number.NEGATIVE_INFINITY },
} as const

t.test('reduce over every form of (outer, mid, inner)', async (t) => {
  const sizes = [
    [1, 1, 1],
    [1, 1, 7],
    [1, 1, 100003],
    [5, 3, 1],
    [1000, 3, 1],
    [1001, 7, 1],
    [700, 130, 1],
    [3, 9000, 1],
    [2, 5, 17],
    [3, 4, 5000],
    [2, 2, 70001],
    [40, 2, 3],
    [1, 600, 33],
  ]
  for (const [outer, mid, inner] of sizes)
    for (const [op, { f, join, start }] of Object.entries(kinds))
      scope(() => {
        const x = signed([outer, mid, inner], outer + mid)
        const expected = new Float64Array(mid).fill(start)
        x.floats().forEach((v, i) => {
          const m = Math.floor(i / inner) % mid
          expected[m] = join(expected[m], f(v))
        })
        const y = new Tensor(native.reduce(x.handle, op as keyof typeof kinds, outer, mid, inner, 0.5))
        t.ok(
          relativeError(
            y,
            expected.map((v) => 0.5 * v),
          ) < 2e-6,
          `${op} (${outer}, ${mid}, ${inner})`,
        )
      })
})

t.test('sums of many equal values stay exact', async (t) => {
  scope(() => {
    const x = new Tensor(native.full([3000000], 'f32', 'cpu', 0.1))
    t.ok(Math.abs(sum(x).item() / (3000000 * Math.fround(0.1)) - 1) < 1e-6)
    t.ok(Math.abs(mean(x).item() - 0.1) < 1e-7)
  })
})

t.test('results are scalars and max keeps NaN', async (t) => {
  const x = Tensor.from([1, -5, 3, 2], [2, 2])
  t.strictSame([sum(x).shape, mean(x).shape, max(x).shape, mse(x, x).shape, mulSum(x, x).shape], [[], [], [], [], []])
  t.equal(max(x).item(), 3)
  t.equal(mae(x, zeros([2, 2])).item(), 2.75)
  t.equal(mse(x, zeros([2, 2])).item(), 39 / 4)
  t.ok(Number.isNaN(max(Tensor.from([1, Number.NaN, 3, ...Array(40).fill(2)], [43])).item()))
  t.equal(sum(zeros([0])).item(), 0)
  t.strictSame([...sumRows(zeros([0, 3])).floats()], [0, 0, 0])
  t.throws(() => mse(x, zeros([3])), { code: 'ERR_SHAPE' })
})

t.test('gradients', async (t) => {
  const [a, b] = [signed([3, 4, 5], 1), signed([3, 4, 5], 2)]
  a.requiresGrad = true
  b.requiresGrad = true
  t.ok(gradcheck(sum, [a]) < 1e-3)
  t.ok(gradcheck(mean, [a]) < 1e-3)
  t.ok(gradcheck(sumRows, [a]) < 1e-3)
  for (const op of [mulSum, mse, mae]) {
    t.ok(gradcheck(op, [a, b], { step: 1e-3 }) < 2e-3, op.name)
    t.ok(gradcheck((a) => op(a, a), [a]) < 1e-3, `${op.name} of one tensor`)
    b.requiresGrad = false
    t.ok(gradcheck(op, [a, b], { step: 1e-3 }) < 2e-3, `${op.name} in the first`)
    t.ok(gradcheck((a) => op(b, a), [a], { step: 1e-3 }) < 2e-3, `${op.name} in the second`)
    b.requiresGrad = true
  }
})
