import t from 'tap'
import {
  feedForward,
  gelu,
  linear,
  matmul,
  noGrad,
  type Shape,
  scope,
  Tensor,
  zeros,
} from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

/** Σ over k in double, element by element. */
function plainMatmul(a: Tensor, b: Tensor, transA: boolean, transB: boolean): Float64Array {
  const [av, bv] = [a.floats(), b.floats()]
  const [ra, ca] = [a.dim(-2), a.dim(-1)]
  const [rb, cb] = [b.dim(-2), b.dim(-1)]
  const [m, k, n] = [transA ? ca : ra, transA ? ra : ca, transB ? rb : cb]
  const batch = Math.max(a.count / Math.max(1, ra * ca), b.count / Math.max(1, rb * cb))
  const c = new Float64Array(batch * m * n)
  for (let s = 0; s < batch; s++)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = 0
        for (let x = 0; x < k; x++) {
          const ai = (a.rank > 2 ? s * ra * ca : 0) + (transA ? x * ca + i : i * ca + x)
          const bi = (b.rank > 2 ? s * rb * cb : 0) + (transB ? j * cb + x : x * cb + j)
          sum += av[ai] * bv[bi]
        }
        c[(s * m + i) * n + j] = sum
      }
  return c
}

const transposes = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })))
const sized = (batch: Shape, rows: number, cols: number, swap: boolean): Shape => [
  ...batch,
  ...(swap ? [cols, rows] : [rows, cols]),
]

t.test('matmul over odd sizes, batches and transposes', async (t) => {
  const sizes = [
    [1, 1, 1],
    [1, 7, 3],
    [5, 1, 9],
    [3, 4, 1],
    [17, 19, 23],
    [2, 300, 5],
    [33, 65, 130],
    [129, 31, 257],
  ]
  const batches: [Shape, Shape][] = [
    [[], []],
    [[3], [3]],
    [
      [2, 2],
      [2, 2],
    ],
    [[3], []],
    [[], [3]],
  ]
  for (const [m, k, n] of sizes)
    for (const [batchA, batchB] of batches)
      for (const options of transposes)
        scope(() => {
          const a = signed(sized(batchA, m, k, options.transA), m + 1)
          const b = signed(sized(batchB, k, n, options.transB), n + 2)
          const c = matmul(a, b, options)
          t.strictSame(c.shape, [...(batchA.length ? batchA : batchB), m, n])
          const error = relativeError(c, plainMatmul(a, b, options.transA, options.transB))
          t.ok(error < 1e-6, `(${a.shape})·(${b.shape}) ${JSON.stringify(options)}: ${error}`)
        })
})

t.test('matmul with an empty dimension', async (t) => {
  for (const options of transposes)
    for (const [batch, m, k, n] of [
      [2, 3, 0, 4],
      [2, 0, 3, 4],
      [2, 3, 4, 0],
      [0, 3, 4, 5],
    ])
      scope(() => {
        const a = zeros(sized([batch], m, k, options.transA))
        const b = zeros(sized([batch], k, n, options.transB))
        const shared = zeros(sized([], k, n, options.transB))
        for (const x of [a, b, shared]) x.requiresGrad = true
        for (const c of [matmul(a, b, options), matmul(a, shared, options)]) {
          t.strictSame(c.shape, [batch, m, n])
          t.ok(c.floats().every((v) => v === 0))
        }
        t.equal(
          gradcheck(
            (a, b, shared) => matmul(matmul(a, b, options), matmul(a, shared, options), { transB: true }),
            [a, b, shared],
          ),
          0,
        )
      })
})

t.test('matmul gradients, with a matrix shared by a batch', async (t) => {
  const batches: [Shape, Shape][] = [
    [[], []],
    [[3], [3]],
    [[3], []],
    [[], [3]],
  ]
  for (const [batchA, batchB] of batches)
    for (const options of transposes) {
      const a = signed(sized(batchA, 4, 5, options.transA), 1)
      const b = signed(sized(batchB, 5, 7, options.transB), 2)
      for (const [needsA, needsB] of [
        [true, true],
        [true, false],
        [false, true],
      ]) {
        a.requiresGrad = needsA
        b.requiresGrad = needsB
        const error = gradcheck((a, b) => matmul(a, b, options), [a, b])
        t.ok(error < 1e-3, `(${a.shape})·(${b.shape}) ${JSON.stringify(options)}: ${error}`)
      }
    }
})

t.test('linear is x·wᵀ + bias, with gelu after it where asked', async (t) => {
  for (const [rows, k, n] of [
    [[5], 3, 7],
    [[2, 13], 33, 19],
    [[2, 3, 4], 64, 130],
    [[], 6, 5],
    [[1], 1, 1],
    [[130], 384, 96],
  ] as [number[], number, number][])
    for (const withBias of [true, false])
      scope(() => {
        const [x, w, bias] = [signed([...rows, k], 1), signed([n, k], 2), withBias ? signed([n], 3) : null]
        const y = linear(x, w, bias)
        t.strictSame(y.shape, [...rows, n])
        const flat = Tensor.from(x.floats(), [x.count / k, k])
        const expected = plainMatmul(flat, w, false, true)
        if (bias) for (let i = 0; i < expected.length; i++) expected[i] += bias.floats()[i % n]
        t.ok(relativeError(y, expected) < 1e-6, `(${x.shape})·(${w.shape})ᵀ`)
        // Recorded (gelu on its own) and not (gelu fused into the product) agree.
        const activated = gelu(y).floats()
        t.ok(relativeError(linear(x, w, bias, { gelu: true }), activated) < 1e-6)
        w.requiresGrad = true
        t.ok(relativeError(linear(x, w, bias, { gelu: true }), activated) < 1e-6)
        t.ok(
          relativeError(
            noGrad(() => linear(x, w, bias, { gelu: true })),
            activated,
          ) < 1e-6,
        )
      })
})

t.test('linear gradients', async (t) => {
  for (const shape of [[5, 6], [2, 3, 6], [6]])
    for (const options of [{}, { gelu: true }])
      for (const withBias of [true, false]) {
        const [x, w, bias] = [signed(shape, 1), signed([4, 6], 2), withBias ? signed([4], 3) : null]
        for (const only of [null, x, w, bias]) {
          for (const input of [x, w, bias]) if (input) input.requiresGrad = only === null || only === input
          const error = gradcheck((x, w) => linear(x, w, bias, options), bias ? [x, w, bias] : [x, w], { step: 3e-3 })
          t.ok(error < 1e-3, `(${shape}) ${JSON.stringify(options)} bias ${withBias}: ${error}`)
        }
      }
})

t.test('feedForward is two linear layers with gelu between them', async (t) => {
  for (const shape of [[5, 6], [2, 3, 6], [6], [0, 6]])
    for (const withBias of [true, false]) {
      const [x, w1, w2] = [signed(shape, 1), signed([8, 6], 2), signed([4, 8], 3)]
      const [b1, b2] = withBias ? [signed([8], 4), signed([4], 5)] : [null, null]
      const layers = noGrad(() => linear(linear(x, w1, b1, { gelu: true }), w2, b2).floats())
      t.strictSame(noGrad(() => feedForward(x, { w1, b1, w2, b2 })).floats(), layers, `(${shape}) bias ${withBias}`)
      const inputs = [x, w1, w2, b1, b2].filter((input) => input !== null)
      for (const only of [null, ...inputs]) {
        for (const input of inputs) input.requiresGrad = only === null || only === input
        const error = gradcheck((x, w1, w2, b1 = null!, b2 = null!) => feedForward(x, { w1, b1, w2, b2 }), inputs, {
          step: 3e-3,
        })
        t.ok(error < 1e-3, `(${shape}) bias ${withBias}, input ${only ? inputs.indexOf(only) : 'all'}: ${error}`)
      }
    }
  const wrong = { w1: signed([8, 6]), b1: null, w2: signed([4, 7]), b2: null }
  t.throws(() => feedForward(signed([2, 6]), wrong), { code: 'ERR_SHAPE', message: /linear: x has shape \(2, 8\)/ })
})

t.test('linear of no rows and of rows of no elements', async (t) => {
  scope(() => {
    const [w, bias] = [signed([4, 6]), signed([4], 2)]
    w.requiresGrad = true
    bias.requiresGrad = true
    t.strictSame(linear(zeros([0, 6]), w, bias).shape, [0, 4])
    t.equal(
      gradcheck((w, bias) => linear(zeros([0, 6]), w, bias, { gelu: true }), [w, bias]),
      0,
    )
    const empty = zeros([4, 0])
    const y = linear(zeros([3, 0]), empty, bias)
    for (let i = 0; i < 12; i++) t.equal(y.floats()[i], bias.floats()[i % 4])
    t.ok(
      relativeError(
        noGrad(() => linear(zeros([3, 0]), empty, bias, { gelu: true })),
        gelu(y).floats(),
      ) < 1e-6,
    )
    t.ok(gradcheck((bias) => linear(zeros([3, 0]), empty, bias, { gelu: true }), [bias], { step: 3e-3 }) < 1e-3)
  })
})

t.test('errors name the op and the shapes', async (t) => {
  t.throws(() => matmul(signed([2, 3]), signed([4, 5])), {
    name: 'StarError',
    code: 'ERR_SHAPE',
    message: /matmul: a has shape \(2, 3\) and b \(4, 5\)/,
  })
  t.throws(() => matmul(signed([2, 2, 3]), signed([3, 3, 5])), { code: 'ERR_SHAPE' })
  t.throws(() => matmul(signed([3]), signed([3, 5])), { code: 'ERR_SHAPE' })
  t.throws(() => linear(signed([2, 3]), signed([5, 4])), { code: 'ERR_SHAPE', message: /linear: x has shape \(2, 3\)/ })
  t.throws(() => linear(signed([2, 3]), signed([5, 3]), signed([3])), { code: 'ERR_SHAPE', message: /bias/ })
  t.throws(() => matmul(zeros([2, 2], { dtype: 'i32' }), zeros([2, 2], { dtype: 'i32' })), { code: 'ERR_DTYPE' })
})
