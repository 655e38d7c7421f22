import t from 'tap'
import { cast, concat, permute, reshape, scope, slice, sum, Tensor } from '../../../lib/tensor/index.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

const permutations: [number[], number[]][] = [
  [[5], [0]],
  [
    [3, 4],
    [1, 0],
  ],
  [
    [1, 4],
    [1, 0],
  ],
  [
    [33, 65],
    [1, 0],
  ],
  [
    [2, 3, 4],
    [0, 2, 1],
  ],
  [
    [2, 3, 4],
    [2, 1, 0],
  ],
  [
    [2, 37, 5, 3],
    [0, 3, 1, 2],
  ],
  [
    [2, 3, 37, 5],
    [0, 2, 3, 1],
  ],
  [
    [2, 7, 3, 16],
    [0, 2, 1, 3],
  ],
  [
    [3, 2, 5, 4, 2],
    [4, 0, 3, 1, 2],
  ],
  [
    [3, 2, 5, 4, 2],
    [3, 1, 4, 0, 2],
  ],
  [
    [2, 1, 70, 40],
    [3, 1, 0, 2],
  ],
  [
    [0, 3],
    [1, 0],
  ],
]

function permuted(data: ArrayLike<number>, shape: readonly number[], perm: readonly number[]): number[] {
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((n, d) => n * d, 1))
  const result: number[] = []
  const walk = (axis: number, at: number): void => {
    if (axis === perm.length) result.push(data[at])
    else for (let i = 0; i < shape[perm[axis]]; i++) walk(axis + 1, at + i * strides[perm[axis]])
  }
  walk(0, 0)
  return result
}

t.test('permute in every dtype', async (t) => {
  for (const [shape, perm] of permutations)
    for (const dtype of ['f32', 'f16', 'i32', 'u8'] as const)
      scope(() => {
        const count = shape.reduce((n, d) => n * d, 1)
        const x = cast(
          Tensor.from(
            Float32Array.from({ length: count }, (_, i) => i % 251),
            shape,
          ),
          dtype,
        )
        const y = permute(x, perm)
        t.strictSame(
          y.shape,
          perm.map((axis) => shape[axis]),
        )
        t.strictSame([...y.data()], permuted(x.data(), shape, perm), `(${shape}) by ${perm} in ${dtype}`)
      })
  t.throws(() => permute(signed([2, 3]), [0, 0]), { code: 'ERR_SHAPE' })
  t.throws(() => permute(signed([2, 3]), [0]), { code: 'ERR_SHAPE' })
  t.throws(() => permute(signed([2, 3]), [0, 2]), { code: 'ERR_SHAPE' })
})

t.test('reshape shares memory and fills in one dimension', async (t) => {
  const x = signed([2, 3, 4])
  t.strictSame(reshape(x, [4, -1]).shape, [4, 6])
  t.strictSame(reshape(x, [-1]).shape, [24])
  t.strictSame(reshape(signed([0, 3]), [-1, 3]).shape, [0, 3])
  const y = reshape(x, [24])
  y.write(new Float32Array(24).fill(2))
  t.equal(sum(x).item(), 48)
  t.throws(() => reshape(x, [5, -1]), { code: 'ERR_SHAPE' })
  t.throws(() => reshape(x, [-1, -1]), { code: 'ERR_SHAPE' })
  t.throws(() => reshape(x, [23]), { code: 'ERR_SHAPE' })
})

t.test('slice and concat take each other back', async (t) => {
  for (const shape of [[5], [4, 7], [1, 6, 3], [3, 5, 2], [2, 3, 4, 5]])
    for (let axis = 0; axis < shape.length; axis++)
      scope(() => {
        const x = signed(shape, 3)
        const size = shape[axis]
        const cut = Math.ceil(size / 3)
        const parts = [slice(x, axis, 0, cut), slice(x, axis, cut, cut), slice(x, axis, cut)]
        t.strictSame(parts[2].shape, shape.with(axis, size - cut))
        const back = concat(parts, axis - shape.length)
        t.strictSame(back.shape, shape)
        t.strictSame(back.floats(), x.floats(), `(${shape}) along ${axis}`)
      })
})

t.test('slice counts from the end and refuses what lies outside', async (t) => {
  const x = Tensor.from([0, 1, 2, 3, 4, 5], [2, 3])
  t.strictSame([...slice(x, -1, -2).data()], [1, 2, 4, 5])
  t.strictSame([...slice(x, 1, 0, -1).data()], [0, 1, 3, 4])
  t.strictSame([...slice(x, 0, 1).data()], [3, 4, 5])
  for (const [axis, start, end] of [
    [2, 0, 1],
    [0, 0, 3],
    [1, 2, 1],
    [1, -4, 1],
    [0.5, 0, 1],
  ])
    t.throws(() => slice(x, axis, start, end), { code: 'ERR_SHAPE' })
  t.throws(() => concat([x, signed([2, 3, 1])], 0), { code: 'ERR_SHAPE' })
  t.throws(() => concat([x, signed([3, 2])], 0), { code: 'ERR_SHAPE' })
  t.throws(() => concat([], 0), { code: 'ERR_SHAPE' })
})

t.test('gradients', async (t) => {
  const [a, b] = [signed([2, 3, 5], 1), signed([2, 4, 5], 2)]
  a.requiresGrad = true
  b.requiresGrad = true
  t.ok(gradcheck((a) => permute(a, [2, 0, 1]), [a]) < 1e-3)
  t.ok(gradcheck((a) => reshape(a, [5, -1]), [a]) < 1e-3)
  t.ok(gradcheck((a) => slice(a, 1, 1, 2), [a]) < 1e-3)
  t.ok(gradcheck((a) => slice(a, 0, 1), [a]) < 1e-3)
  t.ok(gradcheck((a, b) => concat([a, b, a], 1), [a, b]) < 1e-3)
  b.requiresGrad = false
  t.ok(gradcheck((a, b) => concat([b, a], 1), [a, b]) < 1e-3)
})
