import t from 'tap'
import { Conv2d, Embedding, GroupNorm, LayerNorm, Linear, RmsNorm } from '../../../lib/nn/index.js'
import { Random, scope, Tensor } from '../../../lib/tensor/index.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

t.test('a layer without a source of first values starts at zero', async (t) => {
  for (const layer of [new Linear(3, 2, { init: null }), new Conv2d(3, 2, { init: null, kernel: 3 })])
    for (const { tensor } of layer.namedTensors()) t.ok(tensor.floats().every((v) => v === 0))
})

t.test('names, shapes and first values', async (t) => {
  const random = new Random(5)
  const shapes = (layer: Iterable<{ name: string; tensor: Tensor }>) =>
    Object.fromEntries([...layer].map(({ name, tensor }) => [name, [...tensor.shape]]))
  const linear = new Linear(50, 7, { init: random })
  t.same(shapes(linear.namedTensors()), { weight: [7, 50], bias: [7] })
  const bound = 1 / Math.sqrt(50)
  t.ok(linear.weight.floats().every((v) => v !== 0 && Math.abs(v) <= bound))
  t.ok(linear.bias!.floats().every((v) => Math.abs(v) <= bound))
  t.same(shapes(new Linear(4, 5, { init: random, bias: false }).namedTensors()), { weight: [5, 4] })
  t.same(shapes(new Conv2d(3, 6, { init: random, kernel: 3 }).namedTensors()), { weight: [6, 3, 3, 3], bias: [6] })
  t.same(shapes(new Embedding(9, 4, { init: random }).namedTensors()), { weight: [9, 4] })
  const std = new Linear(200, 100, { init: random, std: 0.3 })
  const values = std.weight.floats()
  const spread = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length)
  // A normal cut at two standard deviations has 0.88 of the width.
  t.ok(Math.abs(spread / (0.88 * 0.3) - 1) < 0.05, `${spread}`)
  t.ok(std.bias!.floats().every((v) => v === 0))
  for (const layer of [new GroupNorm(64), new LayerNorm(8)]) {
    t.ok(layer.weight.floats().every((v) => v === 1))
    t.ok(layer.bias.floats().every((v) => v === 0))
  }
})

t.test('the same seed gives the same layer', async (t) => {
  const make = () => new Conv2d(4, 4, { init: new Random(11), kernel: 3 }).weight.floats()
  t.strictSame(make(), make())
})

t.test('forward of each layer and its gradients', async (t) => {
  scope(() => {
    const random = new Random(1)
    const linear = new Linear(3, 2, { init: random })
    const [w, b, x] = [linear.weight.floats(), linear.bias!.floats(), signed([4, 3])]
    const given = linear.forward(x).floats()
    const xs = x.floats()
    for (let i = 0; i < 4; i++)
      for (let o = 0; o < 2; o++) {
        const expected = [0, 1, 2].reduce((sum, k) => sum + xs[i * 3 + k] * w[o * 3 + k], b[o])
        t.ok(Math.abs(given[i * 2 + o] - expected) < 1e-5)
      }
    t.ok(gradcheck((x) => linear.forward(x), [signed([4, 3]), linear.weight, linear.bias!]) < 1e-3)

    const image = signed([2, 6, 6, 4])
    image.requiresGrad = true
    const half = new Conv2d(4, 3, { init: random, kernel: 3, stride: 2, padding: [0, 0, 1, 1] })
    t.strictSame(half.forward(image).shape, [2, 3, 3, 3])
    const same = new Conv2d(4, 5, { init: random, kernel: 3 })
    t.strictSame(same.forward(image).shape, [2, 6, 6, 5])
    t.ok(gradcheck((image) => half.forward(image), [image, half.weight, half.bias!]) < 1e-3)
    const norm = new GroupNorm(4, { groups: 2, silu: true })
    t.ok(gradcheck((image) => norm.forward(image), [image, norm.weight, norm.bias]) < 5e-3)

    const embedding = new Embedding(5, 4, { init: random })
    const rows = embedding.forward(Tensor.from([3, 0], [2], { dtype: 'i32' }))
    t.strictSame([...rows.floats().subarray(0, 4)], [...embedding.weight.floats().subarray(12, 16)])
    const layer = new LayerNorm(4)
    const y = layer.forward(signed([3, 4])).floats()
    t.ok(Math.abs(y[0] + y[1] + y[2] + y[3]) < 1e-5)
  })
})

t.test('RmsNorm divides by the root of the mean square and leaves the mean', async (t) => {
  scope(() => {
    const layer = new RmsNorm(5, { eps: 0.25 })
    layer.weight.handle.write(Float32Array.of(1, 2, -1, 0.5, 3))
    const x = signed([2, 3, 5])
    const given = layer.forward(x).floats()
    const [xs, weight] = [x.floats(), layer.weight.floats()]
    for (let row = 0; row < 6; row++) {
      const values = xs.subarray(row * 5, row * 5 + 5)
      const root = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / 5 + 0.25)
      values.forEach((v, i) => {
        t.ok(Math.abs(given[row * 5 + i] - (v / root) * weight[i]) < 1e-6)
      })
    }
    t.ok(gradcheck((x) => layer.forward(x), [x, layer.weight]) < 1e-3)
  })
})
