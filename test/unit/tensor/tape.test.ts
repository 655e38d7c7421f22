import t from 'tap'
import { native } from '../../../lib/native/index.js'
import { add, backward, backwardFrom, clearTape, mul, noGrad, reshape, scope, sum, tapeLength, Tensor } from '../../../lib/tensor/index.js'

const leaf = (values: number[]): Tensor => Tensor.from(values, [values.length], { requiresGrad: true })

t.test('a value used several ways gets the sum of its gradients', async (t) => {
  using x = leaf([1, 2, 3, 4])
  using y = leaf([5, 6, 7, 8])
  scope(() => {
    const s = add(x, y)
    const shaped = reshape(s, [2, 2])
    const twice = add(s, s)
    // d/ds = 2·(1 + …): once through the product, once through each sum.
    backward(sum(add(mul(reshape(shaped, [4]), x), add(twice, s))))
  })
  t.strictSame([...x.grad!.floats()], [1, 2, 3, 4].map((v, i) => v + 3 + (v + [5, 6, 7, 8][i])))
  t.strictSame([...y.grad!.floats()], [1, 2, 3, 4].map((v) => v + 3))
})

t.test('gradients of two leaves never share memory', async (t) => {
  using x = leaf([1, 2])
  using y = leaf([3, 4])
  using z = Tensor.from([5, 6], [2, 1], { requiresGrad: true })
  scope(() => backward(sum(add(add(x, y), reshape(z, [2])))))
  native.affineInto(x.grad!.handle, x.grad!.handle, null, 10, 0, 0)
  t.strictSame([...x.grad!.floats()], [10, 10])
  t.strictSame([...y.grad!.floats()], [1, 1])
  t.strictSame(z.grad!.shape, [2, 1])
  t.notOk(z.grad!.handle.shared())
  scope(() => backward(sum(add(x, y))))
  t.strictSame([...x.grad!.floats()], [11, 11], 'a second walk adds')
})

t.test('a seed is read only', async (t) => {
  using x = leaf([1, 2])
  using seed = Tensor.from([3, 4], [2])
  scope(() => {
    const y = add(x, 0)
    backward(add(y, add(y, y)), seed)
  })
  t.strictSame([...seed.floats()], [3, 4])
  t.strictSame([...x.grad!.floats()], [9, 12])
})

t.test('the tape frees what it held', async (t) => {
  using x = leaf([1, 2, 3])
  const before = native.memory('cpu').liveBytes
  scope(() => backward(sum(mul(x, add(x, x)))))
  x.grad!.dispose()
  x.grad = null
  t.equal(native.memory('cpu').liveBytes, before)
  scope(() => void mul(x, x))
  t.equal(tapeLength(), 1)
  clearTape()
  t.equal(native.memory('cpu').liveBytes, before)
  scope(() => noGrad(() => void mul(x, x)))
  t.equal(tapeLength(), 0)
  t.throws(() => backward(x), { code: 'ERR_SHAPE' })
  t.throws(() => scope(() => backwardFromConstant()), { code: 'ERR_ARGUMENT' })
})

function backwardFromConstant(): void {
  backward(sum(Tensor.from([1], [1])))
}

t.test('several roots go back in one walk', async (t) => {
  using x = leaf([1, 2])
  scope(() => {
    const y = mul(x, 2)
    const z = mul(x, 3)
    backwardFrom([
      [y, null],
      [z, Tensor.from([10, 20], [2])],
    ])
  })
  t.strictSame([...x.grad!.floats()], [32, 62])
})
