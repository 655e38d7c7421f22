import t from 'tap'
import { embedding, nearestRow, scope, segmentSum, Tensor } from '../../../lib/tensor/index.js'
import { gradcheck, signed, signedValues } from '../../support/gradcheck.js'

t.test('embedding gathers rows', async (t) => {
  scope(() => {
    const table = Tensor.from([1, 2, 3, 4, 5, 6], [3, 2])
    const y = embedding(table, Tensor.from([2, 0, 2], [3], { dtype: 'i32' }))
    t.strictSame([...y.floats()], [5, 6, 1, 2, 5, 6])
    t.strictSame(y.shape, [3, 2])
  })
})

t.test('embedding gradient adds rows that are used twice', async (t) => {
  const table = signed([5, 7])
  table.requiresGrad = true
  const ids = Tensor.from([4, 1, 4, 0], [2, 2], { dtype: 'i32' })
  t.ok(gradcheck((w) => embedding(w, ids), [table]) < 1e-3)
})

t.test('segment sums add the rows of an index, and are differentiable', async (t) => {
  const ids = Tensor.from([2, 0, 2, 3], [4], { dtype: 'i32' })
  const x = Tensor.from([1, 2, 3, 4, 5, 6, 7, 8], [4, 2])
  scope(() => {
    const y = segmentSum(x, ids, 5)
    t.same(y.shape, [5, 2])
    t.same([...y.floats()], [3, 4, 0, 0, 6, 8, 7, 8, 0, 0])
  })
  const signs = signed([4, 3])
  signs.requiresGrad = true
  t.ok(gradcheck((w) => segmentSum(w, ids, 5), [signs]) < 1e-3)
})

t.test('embedding refuses an index outside the table', async (t) => {
  const table = signed([3, 2])
  const ids = Tensor.from([3], [1], { dtype: 'i32' })
  t.throws(() => embedding(table, ids), {
    name: 'StarError',
    code: 'ERR_ARGUMENT',
    message: /index 3 .* table of 3 rows/,
  })
})

for (const [rows, vocab, cols] of [
  [1, 1, 1],
  [3, 5, 3],
  [9, 31, 8],
  [64, 33, 32],
  [65, 257, 7],
  [130, 1000, 64],
  [70, 4096, 32],
  [0, 4, 4],
]) {
  t.test(`nearestRow of ${rows} vectors among ${vocab} rows of ${cols}`, async (t) => {
    const x = signedValues(rows * cols, 2)
    const e = signedValues(vocab * cols, 3)
    scope(() => {
      const { ids, distance } = nearestRow(Tensor.from(x, [rows, 1, cols]), Tensor.from(e, [vocab, cols]))
      t.strictSame(ids.shape, [rows, 1])
      const found = distance.floats()
      ids.ints().forEach((id, i) => {
        const distances = Array.from({ length: vocab }, (_, v) => {
          let sum = 0
          for (let c = 0; c < cols; c++) sum += (x[i * cols + c] - e[v * cols + c]) ** 2
          return sum
        })
        const best = Math.min(...distances)
        if (distances.indexOf(best) !== id && distances[id] - best > 1e-5)
          t.fail(`vector ${i}: row ${id}, expected ${distances.indexOf(best)}`)
        if (Math.abs(found[i] - best) > 1e-4) t.fail(`vector ${i}: distance ${found[i]}, expected ${best}`)
      })
    })
  })
}

t.test('nearestRow takes the lowest index on a tie', async (t) => {
  scope(() => {
    const rows = Float32Array.from({ length: 100 * 4 }, (_, i) => ((i >= 37 * 4 && i < 38 * 4) || i >= 70 * 4 ? 1 : 2))
    const { ids, distance } = nearestRow(
      Tensor.from(new Float32Array(20 * 4).fill(1), [20, 4]),
      Tensor.from(rows, [100, 4]),
    )
    t.strictSame([...ids.ints()], new Array(20).fill(37))
    t.strictSame([...distance.floats()], new Array(20).fill(0))
  })
})

t.test('nearestRow refuses vectors of another width', async (t) => {
  t.throws(() => nearestRow(signed([2, 3]), signed([5, 4])), { code: 'ERR_SHAPE', message: /last dimension of 4/ })
})
