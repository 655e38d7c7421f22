import t from 'tap'
import { embedding, scope, Tensor } from '../../../lib/tensor/index.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

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

t.test('embedding refuses an index outside the table', async (t) => {
  const table = signed([3, 2])
  const ids = Tensor.from([3], [1], { dtype: 'i32' })
  t.throws(() => embedding(table, ids), { name: 'StarError', code: 'ERR_ARGUMENT', message: /index 3 .* table of 3 rows/ })
})
