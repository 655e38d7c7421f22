import t from 'tap'
import { groupNorm, layerNorm, scope, softmax, Tensor, zeros } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed, signedValues } from '../../support/gradcheck.js'

const learn = (x: Tensor): Tensor => {
  x.requiresGrad = true
  return x
}

/** (value − mean)/√(variance + eps) over the elements for which `group` is the same. */
function normalised(x: Float32Array, group: (i: number) => number, groups: number, eps: number): Float64Array {
  const [sum, squares, count] = [new Float64Array(groups), new Float64Array(groups), new Float64Array(groups)]
  x.forEach((v, i) => {
    sum[group(i)] += v
    count[group(i)]++
  })
  x.forEach((v, i) => {
    squares[group(i)] += (v - sum[group(i)] / count[group(i)]) ** 2
  })
  return Float64Array.from(x, (v, i) => {
    const g = group(i)
    return (v - sum[g] / count[g]) / Math.sqrt(squares[g] / count[g] + eps)
  })
}

t.test('layerNorm with every kind of scale and shift', async (t) => {
  for (const [rows, mod, cols] of [
    [1, 1, 1],
    [2, 1, 3],
    [6, 3, 16],
    [8, 8, 33],
    [130, 1, 64],
    [132, 2, 100],
    [3, 1, 2049],
  ])
    for (const affine of [true, false])
      for (const [hasScale, hasShift] of [
        [true, true],
        [true, false],
        [false, true],
        [false, false],
      ])
        scope(() => {
          const x = signed([rows, cols], 1, 3)
          const shape = mod === 1 ? [cols] : [mod, cols]
          const [scale, shift] = [signed(shape, 2), signed(shape, 3)]
          const n = normalised(x.floats(), (i) => Math.floor(i / cols), rows, 1e-5)
          const [s, b] = [scale.floats(), shift.floats()]
          const expected = n.map((v, i) => {
            const at = (Math.floor(i / cols) % mod) * cols + (i % cols)
            return v * (hasScale ? s[at] + (affine ? 0 : 1) : 1) + (hasShift ? b[at] : 0)
          })
          const y = layerNorm(x, { scale: hasScale ? scale : null, shift: hasShift ? shift : null, affine, eps: 1e-5 })
          t.ok(relativeError(y, expected) < 2e-6, `(${rows}, ${cols}) by ${mod} ${affine} ${hasScale} ${hasShift}`)
        })
})

t.test('gradients of layerNorm', async (t) => {
  for (const [shape, modulation] of [
    [[5, 7], [7]],
    [
      [2, 3, 19],
      [3, 19],
    ],
    [
      [2, 3, 19],
      [1, 3, 19],
    ],
    [
      [2, 3, 8],
      [2, 3, 8],
    ],
    [[150, 6], [6]],
    [
      [140, 5],
      [2, 5],
    ],
  ])
    for (const affine of [true, false]) {
      const [x, scale, shift] = [learn(signed(shape, 1)), learn(signed(modulation, 2)), learn(signed(modulation, 3))]
      t.ok(
        gradcheck((x, scale, shift) => layerNorm(x, { scale, shift, affine }), [x, scale, shift], { step: 3e-3 }) <
          3e-3,
        `(${shape}) by (${modulation}) ${affine}`,
      )
      t.ok(gradcheck((x, shift) => layerNorm(x, { shift }), [x, shift], { step: 3e-3 }) < 3e-3, 'shift only')
      t.ok(gradcheck((x, scale) => layerNorm(x, { scale, affine }), [x, scale], { step: 3e-3 }) < 3e-3, 'scale only')
      t.ok(gradcheck((x) => layerNorm(x), [x], { step: 3e-3 }) < 3e-3, 'x only')
      x.requiresGrad = false
      t.ok(
        gradcheck((scale, shift) => layerNorm(x, { scale, shift, affine }), [scale, shift]) < 1e-3,
        'scale and shift only',
      )
    }
})

t.test('layerNorm refuses what does not fit', async (t) => {
  const x = signed([4, 6])
  t.throws(() => layerNorm(x, { scale: signed([5]) }), {
    code: 'ERR_SHAPE',
    message: /^layerNorm: scale has shape \(5\)/,
  })
  t.throws(() => layerNorm(x, { scale: signed([3, 6]) }), { code: 'ERR_SHAPE' })
  t.throws(() => layerNorm(x, { scale: signed([2, 6]), shift: signed([6]) }), { code: 'ERR_SHAPE' })
  t.throws(() => layerNorm(zeros([])), { code: 'ERR_SHAPE' })
})

t.test('norms of values far from zero', async (t) => {
  scope(() => {
    const [rows, cols] = [3, 640]
    const values = signedValues(rows * cols, 9).map((v) => Math.fround(1000 + v))
    const n = normalised(values, (i) => Math.floor(i / cols), rows, 1e-6)
    t.ok(relativeError(layerNorm(Tensor.from(values, [rows, cols])), n) < 1e-3)
    const one = Tensor.from(new Float32Array(64).fill(1), [64])
    const image = normalised(values, (i) => Math.floor(i / (10 * 64)) * 4 + Math.floor((i % 64) / 16), 12, 1e-6)
    t.ok(relativeError(groupNorm(Tensor.from(values, [3, 10, 64]), one, zeros([64]), { groups: 4 }), image) < 1e-3)
  })
})

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

t.test('groupNorm with and without SiLU', async (t) => {
  const sizes: [number[], number][] = [
    [[1, 1, 1, 1], 1],
    [[2, 3, 5, 6], 3],
    [[2, 3, 5, 6], 6],
    [[1, 9, 11, 32], 32],
    [[3, 4, 4, 40], 8],
    [[2, 37, 41, 33], 11],
    [[2, 16, 16, 160], 32],
    [[1, 2, 3, 640], 32],
    [[2, 2500, 16], 4],
  ]
  for (const [shape, groups] of sizes)
    for (const silu of [false, true])
      scope(() => {
        const c = shape.at(-1)!
        const hw = shape.slice(1, -1).reduce((n, d) => n * d, 1)
        const x = signed(shape, 1, 3)
        const [weight, bias] = [signed([c], 2), signed([c], 3)]
        const [w, b] = [weight.floats(), bias.floats()]
        const n = normalised(
          x.floats(),
          (i) => Math.floor(i / (hw * c)) * groups + Math.floor((i % c) / (c / groups)),
          shape[0] * groups,
          1e-6,
        )
        const expected = n.map((v, i) => {
          const z = v * w[i % c] + b[i % c]
          return silu ? z * sigmoid(z) : z
        })
        t.ok(
          relativeError(groupNorm(x, weight, bias, { groups, silu }), expected) < 2e-6,
          `(${shape}) in ${groups} groups, ${silu}`,
        )
      })
  t.strictSame(groupNorm(zeros([0, 4, 4, 8]), zeros([8]), zeros([8]), { groups: 2 }).shape, [0, 4, 4, 8])
  t.throws(() => groupNorm(zeros([1, 4, 6]), zeros([6]), zeros([6])), {
    code: 'ERR_SHAPE',
    message: /6 channels do not divide into 32 groups/,
  })
  t.throws(() => groupNorm(zeros([1, 4, 32]), zeros([6]), zeros([32])), { code: 'ERR_SHAPE' })
})

t.test('gradients of groupNorm', async (t) => {
  for (const [shape, groups] of [
    [[2, 3, 3, 6], 3],
    [[1, 5, 32], 8],
    [[2, 4, 35], 5],
    [[1, 1030, 4], 2],
  ] as const)
    for (const silu of [false, true]) {
      const c = shape.at(-1)!
      const [x, weight, bias] = [learn(signed(shape, 1)), learn(signed([c], 2)), learn(signed([c], 3))]
      const f = (x: Tensor, weight: Tensor, bias: Tensor): Tensor => groupNorm(x, weight, bias, { groups, silu })
      t.ok(gradcheck(f, [x, weight, bias], { step: 3e-3 }) < 4e-3, `(${shape}) in ${groups} groups, ${silu}`)
      weight.requiresGrad = false
      bias.requiresGrad = false
      t.ok(gradcheck(f, [x, weight, bias], { step: 3e-3 }) < 4e-3, 'x only')
      weight.requiresGrad = true
      x.requiresGrad = false
      t.ok(gradcheck(f, [x, weight, bias], { step: 3e-3 }) < 4e-3, 'weight only')
    }
})

t.test('softmax', async (t) => {
  for (const [rows, cols] of [
    [1, 1],
    [3, 5],
    [7, 33],
    [2, 4096],
  ])
    for (const scale of [1, 0.125, -2])
      scope(() => {
        const x = signed([rows, cols], 1, 20)
        const values = x.floats()
        const expected = new Float64Array(rows * cols)
        for (let r = 0; r < rows; r++) {
          const row = Array.from(values.subarray(r * cols, (r + 1) * cols), (v) => v * scale)
          const top = Math.max(...row)
          const total = row.reduce((s, v) => s + Math.exp(v - top), 0)
          row.forEach((v, k) => {
            expected[r * cols + k] = Math.exp(v - top) / total
          })
        }
        t.ok(relativeError(softmax(x, scale), expected) < 3e-6, `(${rows}, ${cols}) scale ${scale}`)
      })
  t.strictSame([...softmax(Tensor.from([1000, Number.NEGATIVE_INFINITY, 1000], [3])).floats()], [0.5, 0, 0.5])
  t.ok(gradcheck((x) => softmax(x, 0.7), [learn(signed([4, 19]))], { step: 5e-3 }) < 1e-3)
})
