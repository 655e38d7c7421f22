import t from 'tap'
import { areaPool, bicubic, filterProbabilities, permute, scope, Tensor } from '../../lib/tensor/index.js'
import { Golden, relativeError, ruleSigned, testDevice } from '../support/golden.js'

const golden = new Golden('primitives')
// The note names the inputs: prim (B, C, S, S) and bicS (B, C, S, S).
const [, b, c, side] = /prim \((\d+),(\d+),(\d+),\d+\)/.exec(golden.metadata.note)!.map(Number)

/** A rule-made NCHW image as NHWC. */
function image(name: string, size: number): Tensor {
  const values = ruleSigned(golden.metadata.prefix + name, b * c * size * size)
  return permute(Tensor.from(values, [b, c, size, size], { device: testDevice }), [0, 2, 3, 1])
}

for (const name of golden.names) {
  const [kind, from, to] = name.split('.')
  if (kind !== 'area' && kind !== 'bicubic') continue
  t.test(`golden ${name}`, async (t) => {
    scope(() => {
      const y =
        kind === 'area' ? areaPool(image('prim', side), +from, +from) : bicubic(image(`bic${from}`, +from), +to, +to)
      const error = relativeError(permute(y, [0, 3, 1, 2]).floats(), golden.values(name))
      t.ok(error <= 2e-5, `relative error ${error}`)
    })
  })
}

// "filtered.K.P: probabilities after top-k then top-p of 6*signed uniform named logits (4,50)"
const [, scale, rows, vocab] = /of (\d+)\*signed uniform named logits \((\d+),(\d+)\)/
  .exec(golden.metadata.note)!
  .map(Number)

for (const name of golden.names) {
  const match = /^filtered\.(\d+)\.([\d.]+)$/.exec(name)
  if (!match) continue
  t.test(`golden ${name}`, async (t) => {
    scope(() => {
      const values = ruleSigned(`${golden.metadata.prefix}logits`, rows * vocab).map((v) => scale * v)
      const logits = Tensor.from(values, [rows, vocab], { device: testDevice })
      const p = filterProbabilities(logits, { topK: Number(match[1]), topP: Number(match[2]) }).floats()
      const expected = golden.values(name)
      const error = relativeError(p, expected)
      t.ok(error <= 2e-6, `relative error ${error}`)
      t.strictSame(
        Array.from(p, (v) => v > 0),
        Array.from(expected, (v) => v > 0),
        'the same tokens stay',
      )
    })
  })
}
