import t from 'tap'
import { areaPool, bicubic, scope, Tensor, upsampleNearest } from '../../../lib/tensor/index.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

t.test('nearest doubles every pixel', async (t) => {
  scope(() => {
    const y = upsampleNearest(Tensor.from([1, 2, 3, 4], [1, 1, 2, 2]))
    t.strictSame(y.shape, [1, 2, 4, 2])
    t.strictSame([...y.floats()], [1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4])
  })
})

t.test('area averages overlapping bins when sides do not divide', async (t) => {
  scope(() => {
    const y = areaPool(Tensor.from([1, 2, 3, 4, 5], [1, 1, 5, 1]), 1, 3)
    // bins [0, 2), [1, 4), [3, 5)
    t.match(
      [...y.floats()].map((v) => v.toFixed(5)),
      ['1.50000', '3.00000', '4.50000'],
    )
  })
})

t.test('bicubic keeps a constant image and an unchanged size', async (t) => {
  scope(() => {
    const constant = bicubic(Tensor.from(new Float32Array(9).fill(2), [1, 3, 3, 1]), 7, 5).floats()
    t.ok(constant.every((v) => Math.abs(v - 2) < 1e-6))
    const x = signed([2, 4, 4, 3])
    t.strictSame(bicubic(x, 4, 4).floats(), x.floats())
  })
})

t.test('gradients', async (t) => {
  for (const [n, h, w, c] of [
    [1, 1, 1, 1],
    [2, 3, 4, 5],
    [1, 8, 8, 3],
  ]) {
    const x = signed([n, h, w, c])
    x.requiresGrad = true
    t.ok(gradcheck((x) => upsampleNearest(x), [x]) < 1e-3, `nearest ${h}×${w}`)
    t.ok(gradcheck((x) => areaPool(x, Math.max(1, h - 1), Math.max(1, w >> 1)), [x]) < 1e-3, `area ${h}×${w}`)
    t.ok(gradcheck((x) => bicubic(x, h + 3, 2 * w), [x]) < 1e-3, `bicubic ${h}×${w}`)
    x.dispose()
  }
})

t.test('errors', async (t) => {
  t.throws(() => areaPool(signed([2, 3, 4]), 1, 1), { code: 'ERR_SHAPE' })
  t.throws(() => bicubic(signed([1, 3, 3, 1]), 0, 3), { code: 'ERR_SHAPE' })
})
