import t from 'tap'
import { adamwStep, allFinite, globalNorm, mul, scope, Tensor, zeros } from '../../../lib/tensor/index.js'
import { signed, signedValues } from '../../support/gradcheck.js'

t.test('globalNorm over tensors of odd sizes', async (t) => {
  scope(() => {
    const counts = [1, 5, 16, 33, 40000, 0]
    const values = counts.map((n, i) => signedValues(n, i))
    const expected = Math.sqrt(values.reduce((s, x) => s + x.reduce((r, v) => r + v * v, 0), 0))
    const norm = globalNorm(values.map((x) => Tensor.from(x, [x.length])))
    t.strictSame(norm.shape, [1])
    t.ok(Math.abs(norm.item() - expected) <= 1e-6 * expected)
  })
})

t.test('globalNorm of large values does not overflow on the way', async (t) => {
  scope(() => {
    const norm = globalNorm([Tensor.from(new Float32Array(50).fill(1e25), [50])])
    t.ok(Math.abs(norm.item() / 1e25 - Math.sqrt(50)) < 1e-5)
  })
})

t.test('allFinite finds one infinity or NaN wherever it stands', async (t) => {
  const counts = [1, 5, 16, 33, 40000, 0]
  const verdict = (place?: readonly [tensor: number, element: number], value = 0): number =>
    scope(() => {
      const values = counts.map((n, i) => signedValues(n, i).map((v) => v * 3.4e38))
      if (place) values[place[0]][place[1]] = value
      return allFinite(values.map((x) => Tensor.from(x, [x.length]))).item()
    })
  t.equal(verdict(), 1)
  for (const value of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN])
    for (const place of [
      [0, 0],
      [1, 4],
      [2, 3],
      [3, 32],
      [4, 20000],
      [4, 39999],
    ] as const)
      t.equal(verdict(place, value), 0, `${value} at ${place}`)
  t.throws(() => allFinite([]), { code: 'ERR_ARGUMENT', message: /finite: the list of tensors is empty/ })
})

/** The update in float64. */
function reference(
  p: Float64Array,
  m: Float64Array,
  v: Float64Array,
  g: Float32Array,
  clip: number,
  wd: number,
  step: number,
): void {
  const [lr, b1, b2, eps] = [1e-2, 0.9, 0.95, 1e-8]
  p.forEach((_, i) => {
    const grad = g[i] * clip
    m[i] = b1 * m[i] + (1 - b1) * grad
    v[i] = b2 * v[i] + (1 - b2) * grad * grad
    p[i] = p[i] * (1 - lr * wd) - (lr * (m[i] / (1 - b1 ** step))) / (Math.sqrt(v[i] / (1 - b2 ** step)) + eps)
  })
}

for (const clipped of [false, true]) {
  t.test(`adamwStep follows the formula over three steps, ${clipped ? 'with' : 'without'} clipping`, async (t) => {
    const counts = [1, 7, 16, 35, 16391]
    const decays = [0.05, 0, 0.05, 0.1, 0.05]
    const params = counts.map((n, i) => signed([n], i))
    const m = counts.map((n) => Tensor.from(new Float32Array(n), [n]))
    const v = counts.map((n) => Tensor.from(new Float32Array(n), [n]))
    const wanted = params.map((p) => Float64Array.from(p.floats()))
    const wantedM = counts.map((n) => new Float64Array(n))
    const wantedV = counts.map((n) => new Float64Array(n))
    for (let step = 1; step <= 3; step++) {
      scope(() => {
        const grads = counts.map((n, i) => signed([n], 50 + 10 * step + i, 3))
        const norm = clipped ? globalNorm(grads) : null
        adamwStep({
          params,
          weights: params,
          grads,
          m,
          v,
          weightDecays: decays,
          norm,
          maxNorm: 2,
          gradScale: 1,
          lr: 1e-2,
          beta1: 0.9,
          beta2: 0.95,
          eps: 1e-8,
          step,
        })
        const clip = norm ? Math.min(1, 2 / (norm.item() + 1e-6)) : 1
        for (const [i, p] of wanted.entries())
          reference(p, wantedM[i], wantedV[i], grads[i].floats(), clip, decays[i], step)
      })
    }
    for (const [i, p] of params.entries())
      t.ok(
        p.floats().every((x, j) => Math.abs(x - wanted[i][j]) < 1e-6),
        `tensor ${i}`,
      )
    for (const tensor of [...params, ...m, ...v]) tensor.dispose()
  })
}

t.test('adamwStep on gradients times a power of two, told so, is the same step', async (t) => {
  scope(() => {
    const step = (factor: number, clipped: boolean): Float32Array[] => {
      const grads = [signed([1000], 1, 3), signed([7], 2, 3)].map((g) => mul(g, factor))
      const [params, m, v] = [0, 1, 2].map(() => [zeros([1000]), zeros([7])])
      adamwStep({
        params,
        weights: params,
        grads,
        m,
        v,
        weightDecays: [0.05, 0],
        norm: clipped ? globalNorm(grads) : null,
        maxNorm: 2,
        gradScale: 1 / factor,
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        step: 1,
      })
      return [...params, ...m, ...v].map((t) => t.floats())
    }
    t.strictSame(step(2 ** 20, false), step(1, false))
    t.strictSame(step(2 ** 20, true), step(1, true))
    t.notSame(step(1, true), step(1, false), 'clipping matters here')
  })
})

t.test('adamwStep refuses lists that do not fit', async (t) => {
  const [p, g] = [signed([3]), signed([2])]
  const rest = { norm: null, maxNorm: 0, gradScale: 1, lr: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8 }
  t.throws(
    () => adamwStep({ params: [p], weights: [p], grads: [g], m: [p], v: [p], weightDecays: [0], step: 1, ...rest }),
    {
      code: 'ERR_SHAPE',
      message: /grad \(2\)/,
    },
  )
  t.throws(
    () => adamwStep({ params: [p], weights: [p], grads: [], m: [p], v: [p], weightDecays: [0], step: 1, ...rest }),
    {
      code: 'ERR_ARGUMENT',
      message: /0 grads/,
    },
  )
  t.throws(
    () => adamwStep({ params: [p], weights: [p], grads: [p], m: [p], v: [p], weightDecays: [0], step: 0, ...rest }),
    {
      code: 'ERR_ARGUMENT',
      message: /step is 0/,
    },
  )
  t.throws(
    () => adamwStep({ params: [p], weights: [g], grads: [p], m: [p], v: [p], weightDecays: [0], step: 1, ...rest }),
    {
      code: 'ERR_SHAPE',
      message: /weight \(2\)/,
    },
  )
  using other = signed([3])
  t.throws(
    () => adamwStep({ params: [p], weights: [other], grads: [p], m: [p], v: [p], weightDecays: [0], step: 1, ...rest }),
    { code: 'ERR_DTYPE', message: /weight 0 is f32, expected f16 or bf16, or the parameter itself/ },
  )
  t.throws(() => globalNorm([]), { code: 'ERR_ARGUMENT' })
})
