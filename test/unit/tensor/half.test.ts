// Every op with a gradient, on f16 and bf16 tensors against the same op on f32 tensors of the same values, forward and backward.
import t from 'tap'
import {
  abs,
  adamwStep,
  add,
  affine,
  areaPool,
  attention,
  backwardFrom,
  bicubic,
  cast,
  clamp,
  concat,
  conv2d,
  crossEntropy,
  type DType,
  div,
  embedding,
  exp,
  feedForward,
  gelu,
  geluErf,
  globalNorm,
  groupNorm,
  gumbelMix,
  layerNorm,
  leakyRelu,
  linear,
  log,
  mae,
  matmul,
  max,
  mean,
  mse,
  mul,
  mulSum,
  nearestRow,
  permute,
  reciprocal,
  relu,
  reshape,
  type Shape,
  scope,
  sigmoid,
  silu,
  slice,
  softmax,
  splitHeads,
  sqrt,
  square,
  sub,
  sum,
  sumRows,
  Tensor,
  tanh,
  upsampleNearest,
  writeHeads,
  zeros,
} from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { signed, signedValues } from '../../support/gradcheck.js'

/** Relative error of a whole result: it is rounded to the type once or twice (half a unit is 2⁻¹¹ and 2⁻⁸). */
const tolerance = { f16: 1e-3, bf16: 8e-3 }

interface Case {
  name: string
  /** Shapes of the float arguments; `positive` ones lie in [0.5, 1.5]. */
  shapes: Shape[]
  positive?: boolean
  op(...args: Tensor[]): Tensor | Tensor[]
}

const ids = Tensor.from([2, 0, 2, 4, 1], [5], { dtype: 'i32' })
const limits = Tensor.from([1, 3, 5, 5, 7], [5], { dtype: 'i32' })
const rope = signed([5, 3, 2], 90)
const logScale = signed([2], 91)
const long = 33_000 // more than one block of the ops that work in blocks

const cases: Case[] = [
  ...Object.entries({ silu, gelu, geluErf, relu, tanh, sigmoid, exp, abs, square }).map(([name, op]) => ({
    name,
    shapes: [[3, 37]],
    op,
  })),
  ...Object.entries({ log, sqrt, reciprocal }).map(([name, op]) => ({ name, shapes: [[3, 37]], positive: true, op })),
  { name: 'leakyRelu', shapes: [[7]], op: (x) => leakyRelu(x, 0.2) },
  { name: 'clamp', shapes: [[29]], op: (x) => clamp(x, -0.3, 0.4) },
  { name: 'silu of many', shapes: [[long]], op: silu },
  { name: 'add a bias', shapes: [[5, 13], [13]], op: add },
  { name: 'sub of many', shapes: [[long], [long]], op: sub },
  { name: 'mul by samples', shapes: [[3, 40, 5], [3]], op: mul },
  { name: 'mul by one', shapes: [[3, 40], [1]], op: mul },
  { name: 'div', shapes: [[11], [11]], positive: true, op: div },
  {
    name: 'affine',
    shapes: [
      [9, 3],
      [9, 3],
    ],
    op: (a, b) => affine(a, b, 0.3, -2, 0.25),
  },
  {
    name: 'matmul',
    shapes: [
      [2, 5, 7],
      [2, 7, 3],
    ],
    op: (a, b) => matmul(a, b),
  },
  {
    name: 'matmul of transposes',
    shapes: [
      [7, 5],
      [3, 7],
    ],
    op: (a, b) => matmul(a, b, { transA: true, transB: true }),
  },
  { name: 'linear', shapes: [[3, 5, 17], [9, 17], [9]], op: (x, w, b) => linear(x, w, b) },
  { name: 'linear of many rows', shapes: [[300, 17], [9, 17], [9]], op: (x, w, b) => linear(x, w, b) },
  { name: 'linear with gelu', shapes: [[3, 17], [1100, 17], [1100]], op: (x, w, b) => linear(x, w, b, { gelu: true }) },
  {
    name: 'feedForward',
    shapes: [[3, 5, 17], [24, 17], [24], [9, 24], [9]],
    op: (x, w1, b1, w2, b2) => feedForward(x, { w1, b1, w2, b2 }),
  },
  { name: 'conv2d', shapes: [[2, 6, 5, 3], [4, 3, 3, 3], [4]], op: (x, w, b) => conv2d(x, w, b, { padding: 1 }) },
  {
    name: 'conv2d with many channels',
    shapes: [[1, 33, 32, 32], [16, 32, 3, 3], [16]],
    op: (x, w, b) => conv2d(x, w, b, { padding: 1 }),
  },
  {
    name: 'layerNorm, affine',
    shapes: [[6, 33], [33], [33]],
    op: (x, scale, shift) => layerNorm(x, { scale, shift, affine: true }),
  },
  {
    name: 'layerNorm, a row of scale and shift for each of three',
    shapes: [
      [2, 3, 33],
      [3, 33],
      [3, 33],
    ],
    op: (x, scale, shift) => layerNorm(x, { scale, shift }),
  },
  { name: 'layerNorm of many', shapes: [[600, 64]], op: (x) => layerNorm(x) },
  {
    name: 'groupNorm with silu',
    shapes: [[2, 3, 5, 8], [8], [8]],
    op: (x, w, b) => groupNorm(x, w, b, { groups: 4, silu: true }),
  },
  { name: 'softmax', shapes: [[40, 1000]], op: (x) => softmax(x, 2) },
  {
    name: 'splitHeads',
    shapes: [[2, 5, 36]],
    op: (x) => splitHeads(x, 2, [{ l2Norm: true, logScale, rope }, { l2Norm: true }, {}]),
  },
  { name: 'splitHeads with rope alone', shapes: [[2, 5, 12]], op: (x) => splitHeads(x, 2, [{ rope }]) },
  {
    name: 'attention',
    shapes: [
      [2, 5, 3, 20],
      [2, 7, 3, 20],
      [2, 7, 3, 20],
    ],
    op: (q, k, v) => attention(q, k, v, { scale: 0.5, keyLimit: limits }),
  },
  { name: 'embedding', shapes: [[5, 7]], op: (table) => embedding(table, ids) },
  { name: 'sum', shapes: [[8, 9]], positive: true, op: sum },
  { name: 'mean', shapes: [[8, 9]], positive: true, op: mean },
  { name: 'sumRows', shapes: [[8, 9]], positive: true, op: sumRows },
  {
    name: 'mulSum',
    shapes: [
      [8, 9],
      [8, 9],
    ],
    positive: true,
    op: mulSum,
  },
  {
    name: 'mse',
    shapes: [
      [8, 9],
      [8, 9],
    ],
    op: mse,
  },
  {
    name: 'mae',
    shapes: [
      [8, 9],
      [8, 9],
    ],
    op: mae,
  },
  { name: 'upsampleNearest', shapes: [[1, 2, 3, 2]], op: upsampleNearest },
  { name: 'areaPool', shapes: [[1, 5, 5, 2]], op: (x) => areaPool(x, 3, 2) },
  { name: 'bicubic', shapes: [[1, 3, 3, 2]], op: (x) => bicubic(x, 5, 5) },
  {
    name: 'layout',
    shapes: [[3, 4, 5]],
    op: (x) => concat([slice(permute(x, [1, 0, 2]), 0, 1, 3), reshape(x, [4, 3, 5])], 0),
  },
]

const floats = (x: Tensor): Float32Array => cast(x.detach(), 'f32').floats()

/** Outputs and, for gradients of fixed values, the gradients of the arguments. */
function run(c: Case, args: Tensor[], dtype: DType): Float32Array[] {
  return scope(() => {
    const given = args.map((x) => {
      const y = cast(x, dtype)
      y.requiresGrad = true
      return y
    })
    const outputs = [c.op(...given)].flat()
    const values = outputs.map((y) => {
      t.equal(y.dtype, dtype, `${c.name}: the result has the type of the arguments`)
      return floats(y)
    })
    backwardFrom(outputs.map((y, i) => [y, cast(cast(signed(y.shape, 50 + i), 'bf16'), dtype)] as const))
    return [...values, ...given.map((x) => floats(x.grad!))]
  })
}

for (const dtype of ['f16', 'bf16'] as const) {
  t.test(`ops on ${dtype}`, async (t) => {
    for (const c of cases) {
      const args = c.shapes.map((shape, i) => {
        const values = signedValues(
          shape.reduce((n, d) => n * d, 1),
          i + 1,
        )
        const x = Tensor.from(c.positive ? values.map((v) => 1 + v / 2) : values, shape)
        return cast(cast(x, dtype), 'f32')
      })
      const expected = run(c, args, 'f32')
      run(c, args, dtype).forEach((values, i) => {
        const error = relativeError(values, expected[i])
        t.ok(error <= 3 * tolerance[dtype], `${c.name}, ${i}: relative error ${error.toExponential(1)}`)
      })
    }
  })

  t.test(`what the loss, the optimizer and sampling take of ${dtype}`, async (t) => {
    const logits = cast(cast(signed([5, 50], 3), dtype), 'f32')
    const close = (given: Tensor, expected: Tensor, what: string): void => {
      const error = relativeError(floats(given), floats(expected))
      t.ok(error <= 1e-6, `${what}: relative error ${error.toExponential(1)}`)
    }
    close(
      crossEntropy(cast(logits, dtype), ids, { labelSmoothing: 0.1 }).losses,
      crossEntropy(logits, ids, { labelSmoothing: 0.1 }).losses,
      'losses are f32 of the same logits',
    )
    close(globalNorm([cast(logits, dtype), logits]), globalNorm([logits, logits]), 'a norm over both types')
    t.same(nearestRow(cast(logits, dtype), cast(logits, dtype)).ids.ints(), [0, 1, 2, 3, 4], 'nearest rows')
    close(max(cast(logits, dtype)), max(logits), 'the largest element')

    const mix = (type: DType): Tensor => {
      const codebook = cast(cast(signed([50, 7], 5), dtype), type)
      return gumbelMix(cast(logits, type), signed([5, 50], 6), codebook, { factor: 1, temperature: 0.5 })
    }
    t.equal(mix(dtype).dtype, dtype)
    t.ok(relativeError(floats(mix(dtype)), floats(mix('f32'))) <= tolerance[dtype], 'a mix of codes of both types')

    const step = (grad: Tensor): Tensor => {
      const [param, m, v] = [signed([5, 50], 4), zeros([5, 50]), zeros([5, 50])]
      adamwStep({
        params: [param],
        weights: [param],
        grads: [grad],
        m: [m],
        v: [v],
        weightDecays: [0.1],
        norm: null,
        maxNorm: 0,
        gradScale: 1,
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        step: 1,
      })
      return param
    }
    close(step(cast(logits, dtype)), step(logits), 'AdamW steps by 16-bit gradients of f32 parameters')

    const cache = zeros([1, 4, 2, 25], { dtype })
    writeHeads(reshape(slice(cast(logits, dtype), 0, 0, 2), [1, 2, 50]), 2, 1, 0, {}, cache, 1)
    const expected = new Float32Array(200)
    expected.set(logits.floats().subarray(0, 100), 50)
    t.same(floats(cache), expected, 'heads go into their places of a cache')
  })
}

t.test('16-bit and f32 tensors do not mix', async (t) => {
  const [a, b] = [signed([3, 4], 1), cast(signed([3, 4], 2), 'f16')]
  t.throws(() => add(b, a), { code: 'ERR_DTYPE' })
  t.throws(() => add(a, b), { code: 'ERR_DTYPE' })
  t.throws(() => linear(b, a), { code: 'ERR_DTYPE' })
  t.throws(() => linear(b, cast(a, 'bf16')), { code: 'ERR_DTYPE' })
})
