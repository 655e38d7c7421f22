import t from 'tap'
import { draw, filterProbabilities, gumbelMix, scope, Tensor } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { signed, signedValues } from '../../support/gradcheck.js'

interface Filter {
  topK: number
  topP: number
}

/** One row in float64, with a full sort. */
function reference(z: Float32Array, { topK, topP }: Filter): number[] {
  const softmax = (x: ArrayLike<number>): number[] => {
    const top = Math.max(...Array.from(x))
    const e = Array.from(x, (v) => Math.exp(v - top))
    const sum = e.reduce((s, v) => s + v, 0)
    return e.map((v) => v / sum)
  }
  const logits = Array.from(z)
  if (topK > 0 && topK < z.length) {
    const threshold = [...logits].sort((a, b) => b - a)[topK - 1]
    logits.forEach((v, i) => {
      if (v < threshold) logits[i] = -Infinity
    })
  }
  if (topP > 0) {
    const p = softmax(logits)
    const order = logits.map((_, i) => i).sort((a, b) => logits[a] - logits[b] || a - b)
    let cumulated = 0
    for (const i of order.slice(0, -1)) {
      cumulated += p[i]
      if (cumulated <= 1 - topP) logits[i] = -Infinity
    }
  }
  return softmax(logits)
}

const filters: Filter[] = [
  { topK: 0, topP: 0 },
  { topK: 1, topP: 0 },
  { topK: 5, topP: 0 },
  { topK: 0, topP: 0.8 },
  { topK: 0, topP: 0.05 },
  { topK: 7, topP: 0.5 },
  { topK: 1e6, topP: 0.97 },
  { topK: 0, topP: 1 },
]
const sizes: [number, number][] = [
  [1, 1],
  [3, 2],
  [5, 17],
  [9, 100],
  [4, 1023],
  [3, 4096],
]

for (const [rows, vocab] of sizes)
  for (const filter of filters)
    t.test(`filter and draw from ${rows} rows of ${vocab}, top-k ${filter.topK}, top-p ${filter.topP}`, async (t) => {
      const z = signedValues(rows * vocab, vocab).map((v) => 6 * v)
      const uniform = signedValues(rows, 5).map((v) => (v + 1) / 2)
      scope(() => {
        const logits = Tensor.from(z, [rows, vocab])
        const p = filterProbabilities(logits, filter).floats()
        const { ids, probability } = draw(logits, Tensor.from(uniform, [rows]), filter)
        const drawn = probability.floats()
        for (const [r, id] of ids.ints().entries()) {
          const row = p.subarray(r * vocab, (r + 1) * vocab)
          const expected = reference(z.subarray(r * vocab, (r + 1) * vocab), filter)
          t.ok(relativeError(row, expected) < 1e-6, 'probabilities')
          t.strictSame(
            Array.from(row, (v) => v > 0),
            expected.map((v) => v > 0),
            'kept tokens',
          )
          const total = row.reduce((s, v) => s + v, 0)
          let [below, above] = [0, 0]
          for (let v = 0; v <= id; v++) {
            below = above
            above += row[v]
          }
          t.ok(below <= uniform[r] * total && uniform[r] * total < above, 'inverse of the cumulative sum')
          t.equal(drawn[r], row[id])
        }
      })
    })

t.test('ties: all logits equal to the k-th largest stay; top-p keeps the last of equals', async (t) => {
  scope(() => {
    const logits = Tensor.from([1, 3, 2, 2, 0, 2, 3, 0], [1, 8])
    const kept = (filter: Partial<Filter>) =>
      Array.from(filterProbabilities(logits, filter).floats(), (p) => (p > 0 ? 1 : 0))
    t.strictSame(kept({ topK: 3 }), [0, 1, 1, 1, 0, 1, 1, 0])
    t.strictSame(kept({ topP: 1e-6 }), [0, 0, 0, 0, 0, 0, 1, 0])
    const flat = Tensor.from(new Float32Array(8), [1, 8])
    t.strictSame(
      Array.from(filterProbabilities(flat, { topP: 0.45 }).floats(), (p) => (p > 0 ? 1 : 0)),
      [0, 0, 0, 0, 1, 1, 1, 1],
    )
  })
})

t.test('draw takes the ends of the range and skips tokens without probability', async (t) => {
  scope(() => {
    const logits = Tensor.from([0, 5, 5, 0], [1, 4])
    const at = (u: number) => draw(logits, Tensor.from([u], [1]), { topK: 2 }).ids.item()
    t.equal(at(0), 1)
    t.equal(at(0.4999), 1)
    t.equal(at(0.5), 2)
    t.equal(at(1 - 2 ** -24), 2)
  })
})

t.test('logits may exclude tokens with −∞', async (t) => {
  scope(() => {
    const p = filterProbabilities(Tensor.from([-Infinity, 0, -Infinity, 0], [1, 4]), { topK: 3, topP: 0.9 })
    t.strictSame([...p.floats()], [0, 0.5, 0, 0.5])
  })
})

t.test('draw refuses logits that are not numbers, and rows without a finite one', async (t) => {
  for (const bad of [Number.NaN, Infinity]) {
    const logits = Tensor.from([1, 2, 3, 0, bad, 1], [2, 3])
    t.throws(() => draw(logits, signed([2]), { topK: 1 }), { code: 'ERR_ARGUMENT', message: /row 1/ })
  }
  t.throws(() => filterProbabilities(Tensor.from([-Infinity], [1, 1])), { code: 'ERR_ARGUMENT', message: /row 0/ })
  t.throws(() => draw(signed([2, 3]), signed([3])), { code: 'ERR_SHAPE', message: /uniform has shape \(3\)/ })
  for (const u of [1, -1, Number.NaN])
    t.throws(() => draw(signed([1, 3]), Tensor.from([u], [1])), {
      code: 'ERR_ARGUMENT',
      message: new RegExp(`is ${u === 1 || u === -1 ? `${u}.0+` : '-?nan'}, expected one from 0 on and below 1`),
    })
})

for (const [rows, vocab, cols] of [
  [1, 1, 1],
  [3, 17, 5],
  [5, 300, 32],
  [2, 1025, 33],
])
  for (const filter of [filters[0], filters[5], filters[3]])
    t.test(`gumbelMix of ${rows} rows of ${vocab} × ${cols}, top-k ${filter.topK}, top-p ${filter.topP}`, async (t) => {
      const z = signedValues(rows * vocab, 1).map((v) => 4 * v)
      const noise = signedValues(rows * vocab, 2).map((v) => 2 * v)
      const codebook = signedValues(vocab * cols, 3)
      const [factor, temperature] = [1.4, 0.3]
      scope(() => {
        const y = gumbelMix(
          Tensor.from(z, [rows, vocab]),
          Tensor.from(noise, [rows, vocab]),
          Tensor.from(codebook, [vocab, cols]),
          {
            ...filter,
            factor,
            temperature,
          },
        )
        const expected: number[] = []
        for (let r = 0; r < rows; r++) {
          const kept = reference(z.subarray(r * vocab, (r + 1) * vocab), filter)
          const scores = kept.map((p, v) =>
            p > 0 ? (z[r * vocab + v] * factor + noise[r * vocab + v]) / temperature : -Infinity,
          )
          const weights = reference(Float32Array.from(scores), filters[0])
          for (let c = 0; c < cols; c++) expected.push(weights.reduce((s, w, v) => s + w * codebook[v * cols + c], 0))
        }
        t.strictSame(y.shape, [rows, cols])
        t.ok(relativeError(y, expected) < 5e-6)
      })
    })

t.test('gumbelMix refuses what does not fit', async (t) => {
  const logits = signed([2, 5])
  const options = { factor: 1, temperature: 1 }
  t.throws(() => gumbelMix(logits, signed([2, 4]), signed([5, 3]), options), { code: 'ERR_SHAPE', message: /noise/ })
  t.throws(() => gumbelMix(logits, signed([2, 5]), signed([4, 3]), options), { code: 'ERR_SHAPE', message: /codebook/ })
  t.throws(() => gumbelMix(logits, signed([2, 5]), signed([5, 3]), { factor: 1, temperature: 0 }), {
    code: 'ERR_ARGUMENT',
    message: /temperature is 0/,
  })
})
