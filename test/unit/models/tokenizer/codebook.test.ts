import t from 'tap'
import { Codebook } from '../../../../lib/models/tokenizer/index.js'
import { Random, scope, Tensor } from '../../../../lib/tensor/index.js'
import { signed } from '../../../support/gradcheck.js'

const ids = (values: number[]) => Tensor.from(values, [1, values.length], { dtype: 'i32' })
const make = (scales: number, vocab: number, z: number) =>
  new Codebook(signed([vocab, z]), Tensor.from(new Float32Array(scales * vocab), [scales, vocab]))

t.test('counts of a step and the running count', async (t) => {
  scope(() => {
    const codebook = make(2, 3, 4)
    const counts = codebook.count([ids([1]), ids([2, 2, 0, 1])])
    t.strictSame([...counts], [0, 1, 0, 1, 1, 2])
    codebook.record(counts)
    t.strictSame([...codebook.hits.floats()], [...counts], 'the first step sets it')
    codebook.record(Float32Array.from([50, 1, 0, 1, 1, 2]))
    t.strictSame([...codebook.hits.floats()], [1, 1, 0, 1, 1, 2])
  })
})

t.test('usage and perplexity', async (t) => {
  scope(() => {
    const codebook = make(2, 4, 3)
    t.strictSame(codebook.usage(), { scales: [0, 0], overall: 0, perplexity: 0 }, 'before any step')
    codebook.record(Float32Array.from([2, 0, 0, 0, 0, 2, 0, 0]))
    const usage = codebook.usage()
    t.strictSame(usage.scales, [0.25, 0.25])
    t.equal(usage.overall, 0.5)
    t.ok(Math.abs(usage.perplexity - 2) < 1e-6)
  })
})

t.test('unused rows get vectors of the batch, the others stay', async (t) => {
  scope(() => {
    const codebook = make(2, 4, 3)
    const before = codebook.weight.floats()
    codebook.record(Float32Array.from([8, 0.01, 0, 4, 0, 0.01, 0, 4]))
    const vectors = signed([6, 3], 9, 5)
    const rows = Array.from({ length: 6 }, (_, i) =>
      vectors
        .floats()
        .slice(i * 3, i * 3 + 3)
        .join(),
    )
    t.equal(codebook.revive(vectors, new Random(4), { below: 0.1 }), 2)
    const after = codebook.weight.floats()
    for (const v of [0, 3]) t.strictSame(after.slice(v * 3, v * 3 + 3), before.slice(v * 3, v * 3 + 3))
    for (const v of [1, 2]) t.ok(rows.includes(after.slice(v * 3, v * 3 + 3).join()))
    t.not(after.slice(3, 6).join(), after.slice(6, 9).join(), 'two different vectors')
    t.equal(codebook.revive(vectors, new Random(4), { below: 0.1 }), 0, 'a new row counts as used for a while')
    t.equal(codebook.revive(vectors, new Random(4), { below: 0 }), 0)

    const again = make(2, 4, 3)
    again.record(Float32Array.from([8, 0.01, 0, 4, 0, 0.01, 0, 4]))
    again.revive(vectors, new Random(4), { below: 0.1 })
    t.strictSame(again.weight.floats(), after, 'the same seed draws the same vectors')
  })
})

t.test('first values: drawn vectors, then centres of those nearest', async (t) => {
  scope(() => {
    const codebook = make(1, 2, 1)
    const vectors = Tensor.from([-1, -1.2, -0.8, 3, 3.4, 2.6], [6, 1])
    codebook.sample(vectors, new Random(1))
    const known = [...vectors.floats()]
    t.ok([...codebook.weight.floats()].every((v) => known.includes(v)))
    codebook.weight.write(Float32Array.from([-5, 1.5]))
    codebook.refine(vectors, new Random(1), 3)
    const [low, high] = [...codebook.weight.floats()]
    t.ok(Math.abs(low + 1) < 1e-6 && Math.abs(high - 3) < 1e-6, `${low} ${high}`)
    // A row without any vector near it is drawn anew.
    codebook.weight.write(Float32Array.from([-1, 1000]))
    codebook.refine(vectors, new Random(2), 1)
    t.ok(known.includes(codebook.weight.floats()[1]))
  })
})

t.test('more rows than vectors', async (t) => {
  scope(() => {
    const codebook = make(1, 5, 2)
    const vectors = signed([2, 2], 3)
    codebook.sample(vectors, new Random(1))
    const rows = new Set(
      Array.from({ length: 5 }, (_, i) =>
        codebook.weight
          .floats()
          .slice(i * 2, i * 2 + 2)
          .join(),
      ),
    )
    t.equal(rows.size, 2)
  })
})
