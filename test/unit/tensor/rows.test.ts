import t from 'tap'
import { cast, gatherRows, rowDistances, scatterRows, scope, Tensor, topPositions } from '../../../lib/tensor/index.js'
import { testDevice as device } from '../../support/golden.js'
import { signed } from '../../support/gradcheck.js'

t.test('the positions of the highest scores, in rising order', async (t) => {
  scope(() => {
    const score = Tensor.from([3, 1, 3, Number.NaN, 2, 3, -1, -1, 0, -0, 5, -2], [2, 6], { device })
    t.same([...topPositions(score, 2).ints()], [0, 2, 2, 4], 'the lowest position first on a tie')
    t.same([...topPositions(score, 4).ints()], [0, 2, 4, 5, 0, 2, 3, 4])
    t.same([...topPositions(score, 6).ints()], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    t.same(topPositions(score, 0).shape, [2, 0])
    t.throws(() => topPositions(score, 7), { code: 'ERR_ARGUMENT' })
    t.throws(() => topPositions(Tensor.from([1, 2], [2], { device }), 1), { code: 'ERR_SHAPE' })
  })
})

t.test('squared distances of rows from the center of their sample', async (t) => {
  scope(() => {
    const x = Tensor.from([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2], { device })
    const center = Tensor.from([1, 1, 0, 8], [2, 2], { device })
    t.same([...rowDistances(x, center).floats()], [1, 13, 29, 49])
    t.same([...rowDistances(cast(x, 'bf16'), cast(center, 'bf16')).floats()], [1, 13, 29, 49])
    t.throws(() => rowDistances(x, Tensor.from([1, 1], [1, 2], { device })), { code: 'ERR_SHAPE', message: /center/ })
  })
})

t.test('rows are taken out and put back, in any type', async (t) => {
  for (const [batch, length, width, chosen] of [
    [1, 1, 1, [[0]]],
    [
      2,
      5,
      3,
      [
        [4, 0],
        [2, 3],
      ],
    ],
    [3, 4, 8, [[], [], []]],
  ] as const)
    for (const dtype of ['f32', 'bf16'] as const)
      scope(() => {
        const count = chosen[0].length
        const own = cast(
          Tensor.from(signed([batch, length, width], 3).floats(), [batch, length, width], { device }),
          dtype,
        )
        const part = cast(
          Tensor.from(signed([batch, count, width], 4).floats(), [batch, count, width], { device }),
          dtype,
        )
        const positions = Tensor.from(Int32Array.from(chosen.flatMap((row) => [...row])), [batch, count], { device })
        const [x, other] = [[...own.data()], [...part.data()]]
        const gathered: number[] = []
        const scattered = [...x]
        chosen.forEach((row, b) => {
          row.forEach((position, i) => {
            for (let c = 0; c < width; c++) {
              const at = (b * length + position) * width + c
              gathered.push(x[at])
              scattered[at] = other[(b * count + i) * width + c]
            }
          })
        })
        const y = gatherRows(own, positions)
        t.same(y.shape, [batch, count, width])
        t.same([...y.data()], gathered)
        scatterRows(own, part, positions)
        t.same([...own.data()], scattered)
      })
})

t.test('what does not fit is refused', async (t) => {
  scope(() => {
    const x = Tensor.from([1, 2, 3, 4], [1, 2, 2], { device })
    const positions = (values: number[], shape: number[]) => Tensor.from(Int32Array.from(values), shape, { device })
    t.throws(() => gatherRows(x, positions([0, 1], [2, 1])), { code: 'ERR_SHAPE', message: /positions/ })
    t.throws(() => gatherRows(x, Tensor.from([0], [1, 1], { device })), { code: 'ERR_DTYPE' })
    t.throws(() => scatterRows(x, Tensor.from([1, 2], [1, 2, 1], { device }), positions([0, 1], [1, 2])), {
      code: 'ERR_SHAPE',
    })
    t.throws(
      () => {
        gatherRows(x, positions([2], [1, 1])).data()
      },
      { code: 'ERR_ARGUMENT' },
    )
  })
})
