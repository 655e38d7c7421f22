/** Matrices in 8 bits against plain programs of what their doc comments say. */
import t from 'tap'
import {
  backward,
  cast,
  dequantizeRows,
  type Int8Matrix,
  linear,
  linearInt8,
  mul,
  noGrad,
  quantizeRows,
  scope,
  slice,
  sum,
  Tensor,
} from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { testDevice as device } from '../../support/golden.js'
import { signedValues } from '../../support/gradcheck.js'

const { fround } = Math

const on = (values: Float32Array | number[], shape: number[], dtype: 'f32' | 'f16' | 'bf16' = 'f32'): Tensor =>
  cast(Tensor.from(Float32Array.from(values), shape, { device }), dtype)

const floats = (x: Tensor): Float32Array => cast(x, 'f32').floats()

/** To the nearest whole number, ties to even. */
function roundEven(x: number): number {
  const down = Math.floor(x)
  const rest = x - down
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down
}

function plainRow(row: Float32Array): { q: number[]; scale: number } {
  const largest = row.reduce((most, v) => Math.max(most, Math.abs(v)), 0)
  if (largest < 1e-30) return { q: [...row].map(() => 0), scale: 0 }
  const factor = fround(127 / largest)
  return { q: [...row].map((v) => roundEven(fround(v * factor))), scale: fround(largest / 127) }
}

const rowsOf = (x: Float32Array, cols: number): Float32Array[] =>
  Array.from({ length: cols === 0 ? 0 : x.length / cols }, (_, r) => x.subarray(r * cols, (r + 1) * cols))

const shapes = [
  [1, 1],
  [3, 5],
  [2, 16],
  [4, 33],
  [7, 300],
] as const

t.test('rows become whole numbers and a scale, and come back', async (t) => {
  for (const dtype of ['f32', 'f16', 'bf16'] as const)
    for (const [rows, cols] of shapes)
      scope(() => {
        const x = on(
          signedValues(rows * cols, rows + cols).map((v, i) => v * 10 ** ((i % 5) - 2)),
          [rows, cols],
          dtype,
        )
        const { q, scale } = quantizeRows(x)
        const expected = rowsOf(floats(x), cols).map(plainRow)
        t.equal(q.dtype, 'i8')
        t.same(
          [...q.data()],
          expected.flatMap((row) => row.q),
          `${dtype} ${rows}×${cols}`,
        )
        t.same(
          [...scale.floats()],
          expected.map((row) => row.scale),
        )
        const back = dequantizeRows({ q, scale }, dtype)
        t.equal(back.dtype, dtype)
        const wide = expected.flatMap((row) => row.q.map((v) => fround(v * row.scale)))
        t.same([...floats(back)], [...floats(on(wide, [rows, cols], dtype))])
      })
})

t.test('halves are rounded to even, and rows that cannot be told in 8 bits', async (t) => {
  scope(() => {
    const { q, scale } = quantizeRows(
      on(
        [127, 0.5, 1.5, -2.5, 0, 0, 0, 0, 1e-31, -1e-31, 0, 0, 1, Number.NaN, 2, 3, 1, Number.POSITIVE_INFINITY, 0, 0],
        [5, 4],
      ),
    )
    t.same([...q.data()].slice(0, 4), [127, 0, 2, -2])
    t.same([...q.data()].slice(4), new Array(16).fill(0))
    t.same([...scale.floats()], [1, 0, 0, Number.NaN, Number.NaN])
    t.same(quantizeRows(on([], [0, 4])).q.shape, [0, 4])
    t.same([...quantizeRows(on([], [2, 0])).scale.floats()], [0, 0])
  })
})

/** The layer in plain numbers: sums of whole numbers are exact. */
function plainLinear(x: Float32Array, w: Float32Array, bias: Float32Array | null, k: number): number[] {
  const weights = rowsOf(w, k).map(plainRow)
  return rowsOf(x, k)
    .map(plainRow)
    .flatMap((row) =>
      weights.map((weight, n) => {
        const whole = row.q.reduce((total, v, i) => total + v * weight.q[i], 0)
        return whole * row.scale * weight.scale + (bias?.[n] ?? 0)
      }),
    )
}
const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))

// What f32, f16 and bf16 round the result to.
const tolerance = { f32: 1e-6, f16: 6e-4, bf16: 5e-3 }

t.test('the linear layer', async (t) => {
  for (const dtype of ['f32', 'f16', 'bf16'] as const)
    for (const [m, n, k] of [
      [1, 1, 1],
      [3, 8, 16],
      [5, 7, 33],
      [33, 12, 64],
      [2, 4, 1300],
    ])
      for (const withBias of [false, true])
        for (const activated of [false, true])
          scope(() => {
            const x = on(signedValues(m * k, 1), [m, k], dtype)
            const w = on(signedValues(n * k, 2), [n, k])
            const bias = withBias ? on(signedValues(n, 3), [n], dtype) : null
            const y = linearInt8(x, quantizeRows(w), bias, { gelu: activated })
            t.equal(y.dtype, dtype)
            const sums = plainLinear(floats(x), floats(w), bias && floats(bias), k)
            const expected = Float64Array.from(activated ? sums.map(gelu) : sums)
            const error = relativeError(floats(y), expected)
            t.ok(error <= tolerance[dtype], `${dtype} ${m}×${k}·${k}×${n} ${withBias} ${activated}: ${error}`)
          })
})

t.test('a row does not depend on the others', async (t) => {
  scope(() => {
    const [m, n, k] = [37, 24, 96]
    const x = on(signedValues(m * k, 4), [m, k])
    const w = quantizeRows(on(signedValues(n * k, 5), [n, k]))
    const bias = on(signedValues(n, 6), [n])
    const all = linearInt8(x, w, bias).floats()
    for (const row of [0, 17, 36])
      t.same([...linearInt8(slice(x, 0, row, row + 1), w, bias).floats()], [...all.subarray(row * n, (row + 1) * n)])
  })
})

t.test('gradients: that of x is the one of the matrix in a float type', async (t) => {
  for (const activated of [false, true])
    scope(() => {
      const [m, n, k] = [6, 5, 8]
      const w = quantizeRows(on(signedValues(n * k, 7), [n, k]))
      const given = signedValues(m * k, 8)
      const gradients = (layer: (x: Tensor, bias: Tensor) => Tensor): Float32Array[] => {
        const x = on(given, [m, k])
        const bias = on(signedValues(n, 9), [n])
        x.requiresGrad = bias.requiresGrad = true
        backward(sum(mul(layer(x, bias), on(signedValues(m * n, 10), [m, n]))))
        return [x.grad!.floats(), bias.grad!.floats()]
      }
      const wide = dequantizeRows(w)
      const own = gradients((x, bias) => linearInt8(x, w, bias, { gelu: activated }))
      const expected = gradients((x, bias) => linear(x, wide, bias, { gelu: activated }))
      own.forEach((grad, i) => {
        // gelu's slope is taken at sums that rounding x moved a little.
        const error = relativeError(grad, expected[i])
        t.ok(error <= (activated ? 2e-2 : 1e-6), `${i}: ${error}`)
      })
    })
})

t.test('what does not fit is told in a line', async (t) => {
  scope(() => {
    const w = quantizeRows(on(signedValues(12, 1), [3, 4]))
    const x = on(signedValues(8, 2), [2, 4])
    t.throws(() => linearInt8(on([1, 2, 3], [1, 3]), w), { code: 'ERR_SHAPE', message: /linearInt8: x has shape/ })
    t.throws(() => linearInt8(x, { ...w, scale: on([1], [1]) }), { code: 'ERR_SHAPE', message: /scale/ })
    t.throws(() => linearInt8(x, { ...w, q: cast(w.q, 'u8') } as Int8Matrix), {
      code: 'ERR_DTYPE',
      message: /weight is u8/,
    })
    t.throws(() => noGrad(() => linearInt8(x, w, on([1, 2, 3], [3], 'bf16'))), { code: 'ERR_DTYPE' })
    t.throws(() => quantizeRows(Tensor.from(Int32Array.of(1), [1, 1], { device })), { code: 'ERR_DTYPE' })
    t.throws(() => quantizeRows(on([1], [1])), { code: 'ERR_SHAPE' })
    t.throws(() => dequantizeRows(w, 'i32'), { code: 'ERR_DTYPE' })
  })
})

t.test('bytes with a sign from and to other types', async (t) => {
  scope(() => {
    const x = Tensor.from([1.7, -1.7, 300, -300, Number.NaN, 0], [6], { device })
    t.same([...cast(x, 'i8').data()], [1, -1, 127, -128, 0, 0])
    t.same([...cast(Tensor.from(Int8Array.of(-128, 127), [2], { device }), 'f32').floats()], [-128, 127])
    t.same([...cast(Tensor.from(Int32Array.of(-200, 200, 5), [3], { device }), 'i8').data()], [-128, 127, 5])
  })
})
