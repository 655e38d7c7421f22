import t from 'tap'
import { averagePool3, maxPool3 } from '../../../../lib/models/metrics/pooling.js'
import { native } from '../../../../lib/native/index.js'
import { scope, Tensor } from '../../../../lib/tensor/index.js'
import { ruleUniform, testDevice } from '../../../support/golden.js'

/** Combines the values of 3×3 windows that begin at stride·place − pad; places outside are left out. */
function windows(
  x: Float32Array,
  [n, h, w, c]: readonly number[],
  { stride, pad }: { stride: number; pad: number },
  combine: (values: number[]) => number,
): number[] {
  const [oh, ow] = [h, w].map((side) => Math.floor((side + 2 * pad - 3) / stride) + 1)
  const result: number[] = []
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++)
        for (let channel = 0; channel < c; channel++) {
          const values: number[] = []
          for (let u = 0; u < 3; u++)
            for (let v = 0; v < 3; v++) {
              const [y, z] = [stride * i - pad + u, stride * j - pad + v]
              if (y >= 0 && y < h && z >= 0 && z < w) values.push(x[((b * h + y) * w + z) * c + channel])
            }
          result.push(combine(values))
        }
  return result
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length

t.test('poolings of odd sizes are those of their definitions', async (t) => {
  for (const shape of [
    [2, 7, 9, 3],
    [1, 8, 6, 5],
    [1, 3, 3, 2],
    [2, 4, 5, 1],
  ]) {
    const values = ruleUniform(
      `pooling ${shape.join()}`,
      shape.reduce((a, b) => a * b, 1),
    )
    const before = native.memory(testDevice).liveBytes
    scope(() => {
      const x = Tensor.from(values, shape, { device: testDevice })
      const check = (name: string, y: Tensor, expected: number[]): void => {
        const given = y.floats()
        t.equal(given.length, expected.length, `${name} of (${shape.join(', ')})`)
        t.ok(given.every((value, i) => Math.abs(value - expected[i]) < 3e-7))
      }
      check(
        'max, stride 2',
        maxPool3(x, 2),
        windows(values, shape, { stride: 2, pad: 0 }, (all) => Math.max(...all)),
      )
      check(
        'max, stride 1',
        maxPool3(x, 1),
        windows(values, shape, { stride: 1, pad: 1 }, (all) => Math.max(...all)),
      )
      check('mean', averagePool3(x), windows(values, shape, { stride: 1, pad: 1 }, mean))
    })
    t.equal(native.memory(testDevice).liveBytes, before, 'nothing is left behind')
  }
})
