import t from 'tap'
import { backward, conv2d, type Padding, scope, zeros } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed } from '../../support/gradcheck.js'

interface Case {
  x: [number, number, number, number]
  out: number
  kernel: [number, number]
  stride?: number
  padding?: Padding
  groups?: number
}

/** Calls visit(index in y, index in x, index in weight) for every product of the definition. */
function forEachProduct(c: Case, visit: (y: number, x: number, weight: number) => void): void {
  const { stride = 1, padding = 0, groups = 1, out } = c
  const [n, h, w, channels] = c.x
  const inputs = channels / groups
  const [kh, kw] = c.kernel
  const [top, left, bottom, right] = typeof padding === 'number' ? [padding, padding, padding, padding] : padding
  const [oh, ow] = [Math.floor((h + top + bottom - kh) / stride) + 1, Math.floor((w + left + right - kw) / stride) + 1]
  for (let pixel = 0; pixel < n * oh * ow; pixel++)
    for (let u = 0; u < kh; u++)
      for (let v = 0; v < kw; v++) {
        const row = (Math.floor(pixel / ow) % oh) * stride + u - top
        const col = (pixel % ow) * stride + v - left
        if (row < 0 || row >= h || col < 0 || col >= w) continue
        const from = ((Math.floor(pixel / (oh * ow)) * h + row) * w + col) * channels
        for (let o = 0; o < out; o++) {
          const first = Math.floor((o * groups) / out) * inputs
          for (let i = 0; i < inputs; i++)
            visit(pixel * out + o, from + first + i, ((o * inputs + i) * kh + u) * kw + v)
        }
      }
}

const cases: Case[] = [
  { x: [1, 1, 1, 1], out: 1, kernel: [1, 1] },
  { x: [2, 5, 7, 3], out: 4, kernel: [3, 3], padding: 1 },
  { x: [2, 9, 6, 5], out: 7, kernel: [3, 3] },
  { x: [1, 8, 8, 3], out: 32, kernel: [3, 3], padding: 1 },
  { x: [1, 8, 8, 32], out: 3, kernel: [3, 3], padding: 1 },
  { x: [3, 6, 5, 16], out: 48, kernel: [1, 1] },
  { x: [2, 8, 6, 16], out: 16, kernel: [3, 3], stride: 2, padding: [0, 0, 1, 1] },
  { x: [2, 9, 7, 17], out: 15, kernel: [3, 3], stride: 2, padding: [0, 0, 1, 1] },
  { x: [1, 7, 9, 20], out: 6, kernel: [2, 4], padding: [1, 0, 2, 3] },
  { x: [2, 11, 10, 6], out: 8, kernel: [5, 3], stride: 3, padding: 2 },
  { x: [2, 7, 7, 8], out: 8, kernel: [1, 1], stride: 2 },
  { x: [2, 4, 4, 8], out: 8, kernel: [1, 1], padding: 1 },
  { x: [4, 16, 16, 64], out: 64, kernel: [3, 3], padding: 1 },
  // By Winograd's algorithm: tiles that hang over the edges, channels in unequal blocks, paddings of all kinds.
  { x: [3, 21, 18, 16], out: 48, kernel: [3, 3], padding: 1 },
  { x: [1, 34, 35, 32], out: 16, kernel: [3, 3], padding: [0, 2, 1, 0] },
  { x: [4, 18, 18, 80], out: 16, kernel: [3, 3] },
  { x: [4, 18, 18, 16], out: 144, kernel: [3, 3] },
  { x: [2, 1, 1, 32], out: 32, kernel: [3, 3], padding: 1 },
  { x: [2, 7, 5, 12], out: 12, kernel: [3, 3], padding: 1, groups: 12 },
  { x: [1, 9, 8, 32], out: 32, kernel: [5, 5], padding: 2, groups: 32 },
  { x: [2, 8, 6, 16], out: 16, kernel: [5, 5], stride: 2, padding: [1, 1, 2, 2], groups: 16 },
  { x: [1, 7, 9, 7], out: 7, kernel: [3, 3], stride: 2, padding: [0, 0, 1, 1], groups: 7 },
  { x: [2, 5, 6, 3], out: 9, kernel: [3, 3], padding: 1, groups: 3 },
  { x: [1, 6, 5, 12], out: 8, kernel: [3, 2], padding: [1, 0, 1, 1], groups: 4 },
  { x: [2, 4, 3, 6], out: 10, kernel: [1, 1], groups: 2 },
]

const name = ({ x, out, kernel, stride = 1, padding = 0, groups = 1 }: Case): string =>
  `(${x}) → ${out} channels, ${kernel.join('×')}, stride ${stride}, padding ${padding}, groups ${groups}`

for (const c of cases)
  t.test(name(c), async (t) => {
    const { stride = 1, padding = 0, groups = 1 } = c
    const x = signed(c.x, 1)
    const weight = signed([c.out, c.x[3] / groups, ...c.kernel], 2, 0.5)
    const bias = signed([c.out], 3)
    scope(() => {
      const y = conv2d(x, weight, null, { stride, padding, groups })
      const sums = new Float64Array(y.count)
      const [xv, wv, bv] = [x.floats(), weight.floats(), bias.floats()]
      forEachProduct(c, (yi, xi, wi) => {
        sums[yi] += xv[xi] * wv[wi]
      })
      const error = relativeError(y, sums)
      t.ok(error < 1e-6, `relative error ${error}`)
      const biased = relativeError(
        conv2d(x, weight, bias, { stride, padding, groups }),
        sums.map((v, i) => v + bv[i % c.out]),
      )
      t.ok(biased < 1e-6, `relative error with bias ${biased}`)
    })
    const inputs = [x, weight, bias]
    for (const only of [null, ...inputs]) {
      for (const input of inputs) input.requiresGrad = only === null || only === input
      scope(() => {
        const y = conv2d(x, weight, bias, { stride, padding, groups })
        const dy = signed(y.shape, 4)
        const [xv, wv, dyv] = [x.floats(), weight.floats(), dy.floats()]
        const expected = inputs.map((input) => new Float64Array(input.count))
        forEachProduct(c, (yi, xi, wi) => {
          expected[0][xi] += dyv[yi] * wv[wi]
          expected[1][wi] += dyv[yi] * xv[xi]
        })
        dyv.forEach((v, i) => {
          expected[2][i % c.out] += v
        })
        backward(y, dy)
        inputs.forEach((input, i) => {
          t.equal(input.grad !== null, input.requiresGrad)
          if (!input.grad) return
          const error = relativeError(input.grad, expected[i])
          t.ok(error < 2e-6, `relative error of gradient ${i}: ${error}`)
          input.grad.dispose()
          input.grad = null
        })
      })
    }
    for (const input of inputs) input.requiresGrad = true
    if (x.count > 10000) return // the check by differences drowns in rounding
    const error = gradcheck((x, w, b) => conv2d(x, w, b, { stride, padding, groups }), inputs)
    t.ok(error < 2e-3, `by differences ${error}`)
    const unbiased = gradcheck((x, w) => conv2d(x, w, null, { stride, padding, groups }), [x, weight])
    t.ok(unbiased < 2e-3, `by differences without bias ${unbiased}`)
  })

t.test('no images', async (t) => {
  const [weight, bias] = [signed([4, 3, 3, 3]), signed([4])]
  weight.requiresGrad = true
  bias.requiresGrad = true
  const x = zeros([0, 5, 5, 3])
  t.strictSame(conv2d(x, weight, bias, { padding: 1 }).shape, [0, 5, 5, 4])
  t.equal(
    gradcheck((w, b) => conv2d(x, w, b, { padding: 1 }), [weight, bias]),
    0,
  )
})

t.test('errors name the op and the shapes', async (t) => {
  const x = signed([1, 4, 4, 3])
  t.throws(() => conv2d(x, signed([2, 4, 3, 3])), { code: 'ERR_SHAPE', message: /conv2d: x has shape \(1, 4, 4, 3\)/ })
  t.throws(() => conv2d(x, signed([2, 3, 5, 5])), { code: 'ERR_SHAPE', message: /do not fit an image of 4 x 4/ })
  t.throws(() => conv2d(x, signed([2, 3, 3])), { code: 'ERR_SHAPE' })
  t.throws(() => conv2d(x, signed([2, 3, 3, 3]), signed([3])), { code: 'ERR_SHAPE', message: /bias/ })
  t.throws(() => conv2d(x, signed([2, 3, 3, 3]), null, { stride: 0 }), { code: 'ERR_ARGUMENT' })
  t.throws(() => conv2d(x, signed([2, 3, 3, 3]), null, { padding: -1 }), { code: 'ERR_ARGUMENT' })
  t.throws(() => conv2d(x, signed([3, 1, 3, 3]), null, { groups: 0 }), { code: 'ERR_ARGUMENT', message: /groups is 0/ })
  t.throws(() => conv2d(x, signed([4, 1, 3, 3]), null, { groups: 2 }), { code: 'ERR_SHAPE', message: /in 2 groups/ })
  t.throws(() => conv2d(x, signed([4, 1, 3, 3]), null, { groups: 3 }), {
    code: 'ERR_SHAPE',
    message: /4 outputs, expected a multiple of the 3 groups/,
  })
})
