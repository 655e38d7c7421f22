import t from 'tap'
import * as star from '../../../lib/tensor/index.js'
import {
  abs,
  add,
  addInto,
  affine,
  cast,
  clamp,
  div,
  equal,
  full,
  leakyRelu,
  mul,
  ones,
  scope,
  sub,
  Tensor,
  zeros,
} from '../../../lib/tensor/index.js'
import { relativeError, worstRelative } from '../../support/compare.js'
import { gradcheck, signed, signedValues } from '../../support/gradcheck.js'

const arithmetic = {
  add: { op: add, f: (a: number, b: number) => a + b },
  sub: { op: sub, f: (a: number, b: number) => a - b },
  mul: { op: mul, f: (a: number, b: number) => a * b },
  div: { op: div, f: (a: number, b: number) => a / b },
}

// a's shape, b's shape, and the strides of a's axes in b (0 where b repeats).
const broadcasts: [number[], number[], number[]][] = [
  [[7], [7], [1]],
  [
    [3, 5],
    [3, 5],
    [5, 1],
  ],
  [[3, 5], [1], [0, 0]],
  [[3, 5], [], [0, 0]],
  [[3, 5], [5], [0, 1]],
  [
    [2, 3, 5],
    [3, 5],
    [0, 5, 1],
  ],
  [
    [2, 3, 5],
    [1, 3, 5],
    [0, 5, 1],
  ],
  [[2, 3, 5], [2], [1, 0, 0]],
  [
    [2, 3, 5],
    [2, 1, 1],
    [1, 0, 0],
  ],
  [
    [2, 3, 5],
    [2, 3],
    [3, 1, 0],
  ],
  [
    [2, 3, 5],
    [1, 3, 1],
    [0, 1, 0],
  ],
  [[130, 3], [3], [0, 1]],
  [[9, 33], [33], [0, 1]],
  [[4, 300], [300], [0, 1]],
  [
    [4, 300],
    [4, 1],
    [1, 0],
  ],
  [
    [2, 40, 17],
    [2, 40, 1],
    [40, 1, 0],
  ],
  [[3, 70, 70], [3], [1, 0, 0]],
  [[300, 170], [170], [0, 1]],
  [[1, 1], [1], [0, 0]],
  [[0, 5], [5], [0, 1]],
]

function reference(f: (a: number, b: number) => number, a: Tensor, b: Tensor, strides: number[]): Float32Array {
  const [x, y] = [a.floats(), b.floats()]
  return x.map((v, i) => {
    let rest = i
    let at = 0
    for (let k = strides.length - 1; k >= 0; k--) {
      at += (rest % a.shape[k]) * strides[k]
      rest = Math.floor(rest / a.shape[k])
    }
    return f(v, y[at])
  })
}

const away = (shape: readonly number[], salt: number): Tensor => {
  const count = shape.reduce((n, d) => n * d, 1)
  return Tensor.from(
    signedValues(count, salt).map((v) => v + (v < 0 ? -0.6 : 0.6)),
    shape,
  )
}

for (const [name, { op, f }] of Object.entries(arithmetic)) {
  t.test(`${name} with every form of broadcast`, async (t) => {
    for (const [aShape, bShape, strides] of broadcasts)
      scope(() => {
        const [a, b] = [away(aShape, 1), away(bShape, 2)]
        const y = op(a, b)
        t.strictSame(y.shape, aShape)
        t.strictSame(y.floats(), reference(f, a, b, strides), `(${aShape}) with (${bShape})`)
      })
  })
  t.test(`gradients of ${name}`, async (t) => {
    for (const [aShape, bShape] of broadcasts) {
      if (aShape.reduce((n, d) => n * d, 1) > 4000 || aShape[0] === 0) continue
      const [a, b] = [away(aShape, 1), away(bShape, 2)]
      for (const [needA, needB] of [
        [true, true],
        [true, false],
        [false, true],
      ]) {
        a.requiresGrad = needA
        b.requiresGrad = needB
        t.ok(gradcheck(op, [a, b], { step: 4e-3 }) < 4e-3, `(${aShape}) with (${bShape}), ${needA} ${needB}`)
      }
    }
  })
  t.test(`${name} of a tensor with itself and with a number`, async (t) => {
    const x = away([4, 6], 3)
    x.requiresGrad = true
    t.ok(gradcheck((x) => op(x, x), [x]) < 2e-3)
    t.ok(gradcheck((x) => op(x, 1.7), [x]) < 2e-3)
    scope(() =>
      t.ok(
        relativeError(
          op(x, 1.7),
          x.floats().map((v) => f(v, 1.7)),
        ) < 1e-7,
      ),
    )
  })
}

t.test('add and mul take the smaller tensor first as well', async (t) => {
  const [a, b] = [away([5], 1), away([3, 5], 2)]
  a.requiresGrad = true
  b.requiresGrad = true
  for (const op of [add, mul]) {
    t.strictSame(op(a, b).shape, [3, 5])
    t.ok(gradcheck(op, [a, b]) < 2e-3)
  }
})

t.test('shapes that do not fit are refused with both shapes', async (t) => {
  for (const [name, { op }] of Object.entries(arithmetic))
    t.throws(() => op(zeros([2, 3, 4]), zeros([2, 4])), {
      code: 'ERR_SHAPE',
      message: new RegExp(`^${name}: b has shape \\(2, 4\\).*\\(2, 3, 4\\)`),
    })
  t.throws(() => sub(zeros([3]), zeros([2, 3])), { code: 'ERR_SHAPE' })
  t.throws(() => affine(zeros([3]), zeros([2]), 1, 1, 0), { code: 'ERR_SHAPE' })
  t.throws(() => add(zeros([3], { dtype: 'i32' }), zeros([3], { dtype: 'i32' })), {
    code: 'ERR_DTYPE',
    message: /^binary: this op takes f32 here, got i32/,
  })
})

t.test('affine and addInto', async (t) => {
  const [a, b] = [signed([3, 37], 1), signed([3, 37], 2)]
  a.requiresGrad = true
  b.requiresGrad = true
  t.ok(gradcheck((a, b) => affine(a, b, 1.5, -0.25, 3), [a, b]) < 1e-3)
  t.ok(gradcheck((a) => affine(a, a, 1, 1, 0), [a]) < 1e-3)
  t.ok(gradcheck((a) => affine(a, null, -2, 0, 1), [a]) < 1e-3)
  scope(() => {
    const [x, y] = [a.floats(), b.floats()]
    t.ok(
      relativeError(
        affine(a, b, 1.5, -0.25, 3),
        x.map((v, i) => 1.5 * v - 0.25 * y[i] + 3),
      ) < 1e-7,
    )
    const sum = b.detach()
    addInto(sum, a, 2)
    t.ok(
      relativeError(
        sum,
        y.map((v, i) => v + 2 * x[i]),
      ) < 1e-7,
    )
  })
})

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
/** Φ(x), by Simpson's rule on the density from the tail's far end: exact enough in double for relative comparison. */
const normalBelow = (x: number): number => {
  if (x > 0) return 1 - normalBelow(-x)
  const [steps, width] = [4000, 12 / Math.max(1, -x)]
  let sum = 0
  for (let i = 0; i <= steps; i++)
    sum += (i === 0 || i === steps ? 1 : i % 2 ? 4 : 2) * Math.exp(-((x - (width * i) / steps) ** 2) / 2)
  return (sum * width) / steps / 3 / Math.sqrt(2 * Math.PI)
}
const functions: Record<string, { f: (x: number) => number; values: number[]; tolerance?: number }> = {
  silu: { f: (x) => x * sigmoid(x), values: [-80, -20, -3, -0.1, -1e-6, 0, 1e-6, 0.1, 1, 7, 50, 1000] },
  gelu: {
    f: (x) => x * sigmoid(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)),
    values: [-3, -1, -0.1, 0, 0.1, 2, 6, 50],
  },
  geluErf: {
    f: (x) => x * normalBelow(x),
    values: [-8, -5, -3, -1, -0.1, -1e-6, 0, 1e-6, 0.1, 2, 6, 50, Number.POSITIVE_INFINITY],
  },
  relu: { f: (x) => Math.max(x, 0), values: [-2, -0.5, 0, 0.5, 3] },
  tanh: { f: Math.tanh, values: [-30, -9.1, -1, -0.3, 0, 0.3, 1, 9.1, 30] },
  sigmoid: { f: sigmoid, values: [-80, -20, -1, 0, 1, 20, 80] },
  exp: {
    f: Math.exp,
    values: [-200, -80, -10, -1, -1e-3, 0, 1e-3, 1, 10, 88.5, 200, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
  },
  log: { f: Math.log, values: [0, 1e-30, 1e-3, 0.5, 0.999, 1, 1.001, 2, 1e10, 3e38, -1, Number.POSITIVE_INFINITY] },
  abs: { f: Math.abs, values: [-2, 0, 3] },
  square: { f: (x) => x * x, values: [-2, 0, 3] },
  sqrt: { f: Math.sqrt, values: [0, 1e-12, 2, 1e12, -1] },
  reciprocal: { f: (x) => 1 / x, values: [-2, 1e-3, 5, 0] },
}

for (const [name, { f, values }] of Object.entries(functions)) {
  const op = (star as unknown as Record<string, (x: Tensor) => Tensor>)[name]
  t.test(`${name} is within 2e-6 of the exact value everywhere, and keeps NaN`, async (t) => {
    scope(() => {
      const given = Float32Array.from([...values, Number.NaN])
      const expected = Float32Array.from(given, (v) => f(v))
      // e^−200 and the like underflow in float: worstRelative treats values below 1e-37 as 1e-37.
      t.ok(worstRelative(op(Tensor.from(given, [given.length])).floats(), expected) < 2e-6)
      for (const count of [1, 3, 8, 15, 16, 17, 1000]) {
        const x = signedValues(count, count).map((v) => Math.abs(4 * v) + 1e-3)
        t.ok(
          worstRelative(
            op(Tensor.from(x, [count])).floats(),
            x.map((v) => f(v)),
          ) < 1e-6,
          `${count} elements`,
        )
      }
    })
  })
  t.test(`gradient of ${name}`, async (t) => {
    const x = ['log', 'sqrt', 'reciprocal'].includes(name) ? add(abs(away([5, 7], 4)), 0.2) : away([5, 7], 4)
    x.requiresGrad = true
    t.ok(gradcheck(op, [x], { step: 3e-3 }) < 2e-3)
  })
}

t.test('leakyRelu and clamp', async (t) => {
  const x = Tensor.from([-2, -0.7, -0.2, 0, 0.3, 0.8, 3], [7])
  t.ok(relativeError(leakyRelu(x, 0.2), [-0.4, -0.14, -0.04, 0, 0.3, 0.8, 3]) < 1e-7)
  t.ok(relativeError(clamp(x, -0.5, 0.5), [-0.5, -0.5, -0.2, 0, 0.3, 0.5, 0.5]) < 1e-7)
  const y = away([31], 5)
  y.requiresGrad = true
  t.ok(gradcheck((x) => leakyRelu(x, 0.2), [y]) < 1e-3)
  t.ok(gradcheck((x) => clamp(x, -0.9, 0.9), [y], { step: 1e-4 }) < 4e-3)
})

t.test('fills of every dtype', async (t) => {
  for (const [dtype, value, bits] of [
    ['f32', 1.5, 1.5],
    ['i32', -7, -7],
    ['i32', 16777217, 16777217],
    ['u8', 200, 200],
    ['u8', 300, 255],
    ['f16', 1.5, 0x3e00],
    ['bf16', 1.5, 0x3fc0],
  ] as const)
    t.strictSame([...full([2, 3], value, { dtype }).data()], Array(6).fill(bits), dtype)
  t.equal(ones([3], { requiresGrad: true }).requiresGrad, true)
})

t.test('casts round to nearest even, cut towards integers, and saturate', async (t) => {
  const x = [0, 1, -1.5, 65504, 65519, 65520, 1e-8, 6e-8, 1.00048828125, 1.00146484375, 1e30, -1e30, Number.NaN]
  const from = Tensor.from(x, [x.length])
  t.strictSame(
    [...cast(from, 'f16').data()],
    [0, 0x3c00, 0xbe00, 0x7bff, 0x7bff, 0x7c00, 0, 1, 0x3c00, 0x3c02, 0x7c00, 0xfc00, 0x7e00],
  )
  t.strictSame(
    [...cast(Tensor.from([1, 1.00390625, 1.01171875, 3.4e38, Number.NEGATIVE_INFINITY], [5]), 'bf16').data()],
    [0x3f80, 0x3f80, 0x3f82, 0x7f80, 0xff80],
  )
  t.strictSame([...cast(from, 'i32').data()], [0, 1, -1, 65504, 65519, 65520, 0, 0, 1, 1, 2147483647, -2147483648, 0])
  t.strictSame(
    [...cast(Tensor.from([-3, 0.9, 254.7, 255, 400, Number.NaN], [6]), 'u8').data()],
    [0, 0, 254, 255, 255, 0],
  )
  t.strictSame([...cast(Tensor.from([-3, 7, 300], [3], { dtype: 'i32' }), 'u8').data()], [0, 7, 255])
  t.strictSame([...cast(Tensor.from([-3, 7, 300], [3], { dtype: 'i32' }), 'f32').data()], [-3, 7, 300])
  t.strictSame([...cast(Tensor.from([1, 200], [2], { dtype: 'u8' }), 'f32').data()], [1, 200])
})

t.test('item is a number of any type', async (t) => {
  for (const dtype of ['f32', 'f16', 'bf16', 'i32', 'u8'] as const) t.equal(full([], 3, { dtype }).item(), 3, dtype)
  t.equal(full([1], -1.5, { dtype: 'f16' }).item(), -1.5)
  t.throws(() => full([2], 1).item(), { code: 'ERR_SHAPE' })
})

t.test('equal tells where whole numbers agree', async (t) => {
  const of = (values: number[]): Tensor => Tensor.from(values, [values.length], { dtype: 'i32' })
  t.same([...equal(of([0, 5, 4095, -7]), of([0, 4, 4095, 7])).floats()], [1, 0, 1, 0])
})

t.test('every f16 and bf16 pattern survives a cast to f32 and back', async (t) => {
  for (const dtype of ['f16', 'bf16'] as const)
    scope(() => {
      const all = Uint16Array.from({ length: 65536 }, (_, i) => i)
      const wide = cast(Tensor.from(all, [65536], { dtype }), 'f32')
      const values = wide.floats()
      const back = cast(wide, dtype).data()
      t.equal(
        all.findIndex((bits, i) => !Number.isNaN(values[i]) && back[i] !== bits),
        -1,
        dtype,
      )
    })
})

t.test('the gradient of a cast comes back in the type of its input', async (t) => {
  const x = signed([33], 6)
  x.requiresGrad = true
  t.ok(gradcheck((x) => cast(cast(x, 'f32'), 'f32'), [x]) < 1e-3)
  star.backward(star.sum(cast(cast(x, 'f16'), 'f32')))
  t.strictSame([...x.grad!.floats()], Array(33).fill(1))
})
