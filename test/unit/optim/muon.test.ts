/** Muon: against the formula in float64, on one process, with clipping, in 16 bits, and what it refuses. */
import t from 'tap'
import { hiddenMatrices } from '../../../lib/models/star/index.js'
import { Muon, orthogonalize, type TrainedParameter } from '../../../lib/optim/index.js'
import { cast, keep, mul, scope, Tensor } from '../../../lib/tensor/index.js'
import { signed } from '../../support/gradcheck.js'
import { type Matrix, matrixOf, newtonSchulz, product, rowsOf, singularValues } from '../../support/matrices.js'

const floats = (x: Tensor): Float32Array => scope(() => cast(x, 'f32').floats())

function withGrad(tensor: Tensor, grad: Tensor): void {
  tensor.grad?.dispose()
  tensor.grad = keep(grad)
}

for (const [rows, cols] of [
  [16, 16],
  [12, 40],
  [33, 9],
  [1, 7],
  [5, 1],
])
  t.test(`orthogonalize (${rows}, ${cols}) is the quintic iteration, and its singular values are near 1`, async (t) => {
    using x = signed([rows, cols], 3)
    using y = orthogonalize(x, 'f32')
    const given = matrixOf(x.floats(), rows, cols)
    const wanted = newtonSchulz(given)
    t.ok(y.floats().every((value, i) => Math.abs(value - wanted.values[i]) < 2e-5))
    const values = singularValues(matrixOf(y.floats(), rows, cols))
    t.equal(values.length, Math.min(rows, cols))
    // Of a random square matrix the smallest may be below what five steps raise to 0.68.
    const norm = Math.sqrt(given.values.reduce((sum, v) => sum + v * v, 0))
    const raised = singularValues(given).filter((s) => s > 0.002 * norm).length
    t.ok(raised >= values.length - 1)
    t.ok(
      values.filter((s) => s > 0.67).length >= raised && values.every((s) => s < 1.14),
      `${values.map((s) => s.toFixed(3))}`,
    )
  })

t.test('orthogonalize raises small singular values, whatever the size of the matrix', async (t) => {
  // Singular values from 1 to 0.02, along random directions.
  const n = 24
  const [u, v] = [1, 2].map((seed) => newtonSchulz(matrixOf(signedFloats([n, n], seed), n, n), 30))
  const scaled: Matrix = { ...u, values: u.values.map((value, i) => value * 0.02 ** ((i % n) / (n - 1))) }
  const given = product(scaled, v)
  const spread = singularValues(given)
  t.ok(Math.max(...spread) / Math.min(...spread) > 30)
  for (const factor of [1e-12, 1, 1e12])
    scope(() => {
      const x = Tensor.from(
        Float32Array.from(given.values, (value) => value * factor),
        [n, n],
      )
      const values = singularValues(matrixOf(orthogonalize(x, 'f32').floats(), n, n))
      t.ok(
        values.every((s) => s > 0.67 && s < 1.14),
        `factor ${factor}: ${values.map((s) => s.toFixed(2))}`,
      )
    })
})

t.test('orthogonalize of zeros is zeros', async (t) => {
  using x = Tensor.from(new Float32Array(12), [3, 4])
  using y = orthogonalize(x, 'f32')
  t.strictSame(y.floats(), new Float32Array(12))
})

function signedFloats(shape: number[], seed: number): Float32Array {
  using x = signed(shape, seed)
  return x.floats()
}

for (const dtype of ['bf16', 'f16'] as const)
  t.test(`orthogonalize in ${dtype} has singular values near 1 too`, async (t) => {
    using x = signed([48, 96], 5)
    using y = orthogonalize(x, dtype)
    t.equal(y.dtype, dtype)
    const values = singularValues(matrixOf(floats(y), 48, 96))
    t.ok(
      values.every((s) => s > 0.55 && s < 1.3),
      `${values.map((s) => s.toFixed(2))}`,
    )
  })

const shapes: Record<string, number[]> = { 'blocks.0.attn.mat_qkv.weight': [24, 8], 'ffn.weight': [6, 10], bias: [10] }
const counts: Record<string, number> = { 'blocks.0.attn.mat_qkv.weight': 3, 'ffn.weight': 1 }
const matrices = (name: string): number => counts[name] ?? 0
const names = Object.keys(shapes)

/** Four steps in float64, of the formula. */
function reference(gradients: Record<string, Float32Array>[], settings: { maxNorm: number; lr: number; wd: number }) {
  const { maxNorm, lr, wd } = settings
  const [mu, beta1, beta2] = [0.9, 0.9, 0.95]
  const state = names.map((name, i) => {
    const w = Float64Array.from(signedFloats(shapes[name], i))
    return { name, w, first: w.map(() => 0), second: w.map(() => 0) }
  })
  gradients.forEach((given, step) => {
    const norm = Math.sqrt(names.reduce((sum, name) => sum + given[name].reduce((s, g) => s + g * g, 0), 0))
    const clip = maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1
    for (const { name, w, first, second } of state) {
      const gradient = Float64Array.from(given[name], (g) => g * clip)
      if (matrices(name) === 0) {
        gradient.forEach((g, i) => {
          first[i] = beta1 * first[i] + (1 - beta1) * g
          second[i] = beta2 * second[i] + (1 - beta2) * g * g
          const root = Math.sqrt(second[i] / (1 - beta2 ** (step + 1))) + 1e-8
          w[i] -= (lr * (first[i] / (1 - beta1 ** (step + 1)))) / root
        })
        continue
      }
      gradient.forEach((g, i) => {
        first[i] = mu * first[i] + g
      })
      const [rows, cols] = shapes[name]
      const height = rows / matrices(name)
      const nesterov = matrixOf(
        gradient.map((g, i) => g + mu * first[i]),
        rows,
        cols,
      )
      for (let begin = 0; begin < rows; begin += height) {
        const update = newtonSchulz(rowsOf(nesterov, begin, begin + height)).values
        const size = 0.2 * Math.sqrt(Math.max(height, cols))
        update.forEach((value, i) => {
          const at = begin * cols + i
          w[at] = w[at] * (1 - lr * wd) - lr * size * value
        })
      }
    }
  })
  return Object.fromEntries(state.map(({ name, w }) => [name, w]))
}

/** The same steps by Muon, on gradients times `lossScale`. */
function run(gradients: Record<string, Float32Array>[], { maxNorm = 0, lossScale = 1, lr = 0.05, wd = 0.1 }) {
  const parameters = names.map((name, i): TrainedParameter => ({ name, tensor: signed(shapes[name], i) }))
  const noDecay = (name: string): boolean => name === 'bias'
  const optimizer = new Muon(parameters, { momentum: 0.9, maxNorm, noDecay, matrices })
  const norms = gradients.map((given) =>
    scope(() => {
      for (const { name, tensor } of parameters)
        withGrad(tensor, mul(Tensor.from(given[name], shapes[name]), lossScale))
      return optimizer.step({ lr, weightDecay: wd, lossScale }).gradNorm
    }),
  )
  const weights = Object.fromEntries(parameters.map(({ name, tensor }) => [name, tensor.floats()]))
  for (const { tensor } of parameters) {
    tensor.grad?.dispose()
    tensor.dispose()
  }
  optimizer.dispose()
  return { weights, norms }
}

const gradients = [0, 1, 2, 3].map((step) =>
  Object.fromEntries(names.map((name, i) => [name, signedFloats(shapes[name], 20 + 10 * step + i)])),
)

for (const maxNorm of [0, 2])
  t.test(`four steps follow the formula, ${maxNorm > 0 ? 'with' : 'without'} clipping`, async (t) => {
    const wanted = reference(gradients, { maxNorm, lr: 0.05, wd: 0.1 })
    const { weights, norms } = run(gradients, { maxNorm })
    for (const name of names)
      t.ok(
        weights[name].every((w, i) => Math.abs(w - wanted[name][i]) < 1e-5),
        name,
      )
    gradients.forEach((given, i) => {
      const norm = Math.sqrt(names.reduce((sum, name) => sum + given[name].reduce((s, g) => s + g * g, 0), 0))
      t.ok(Math.abs(norms[i] - norm) < 1e-5 * norm, 'the norm is that of all gradients, before clipping')
      t.ok(norm > 2, 'clipping matters')
    })
  })

t.test('gradients times a power of two, told so, give the same steps', async (t) => {
  t.strictSame(run(gradients, { maxNorm: 2, lossScale: 2 ** 10 }), run(gradients, { maxNorm: 2 }))
})

t.test('an update has the root mean square 0.2·lr, whatever the shape and the gradient', async (t) => {
  for (const [rows, cols] of [
    [32, 32],
    [16, 64],
    [64, 16],
  ])
    scope(() => {
      using tensor = Tensor.from(new Float32Array(rows * cols), [rows, cols])
      const optimizer = new Muon([{ name: 'w', tensor }], { matrices: () => 1 })
      withGrad(tensor, mul(signed([rows, cols], 4), 1e-4))
      optimizer.step({ lr: 0.01, weightDecay: 0 })
      const values = tensor.floats()
      const size = Math.sqrt(values.reduce((sum, w) => sum + w * w, 0) / values.length)
      t.ok(size > 0.8 * 0.002 && size < 1.15 * 0.002, `${size}`)
      optimizer.dispose()
      tensor.grad!.dispose()
    })
})

t.test('state that is saved and loaded goes on to the byte', async (t) => {
  const open = () => {
    const parameters = names.map((name, i): TrainedParameter => ({ name, tensor: signed(shapes[name], i) }))
    return { parameters, optimizer: new Muon(parameters, { momentum: 0.9, matrices }) }
  }
  const take = ({ parameters, optimizer }: ReturnType<typeof open>, given: Record<string, Float32Array>): void =>
    scope(() => {
      for (const { name, tensor } of parameters) withGrad(tensor, Tensor.from(given[name], shapes[name]))
      optimizer.step({ lr: 0.05, weightDecay: 0.1 })
    })
  const [alone, resumed] = [open(), open()]
  for (const given of gradients.slice(0, 2)) take(alone, given)
  const stored = new Map(alone.optimizer.tensors())
  t.strictSame(
    [...stored.keys()],
    ['blocks.0.attn.mat_qkv.weight.momentum_buffer', 'ffn.weight.momentum_buffer', 'bias.exp_avg', 'bias.exp_avg_sq'],
  )
  resumed.optimizer.load(stored, alone.optimizer.state())
  for (const [i, { tensor }] of resumed.parameters.entries()) tensor.copyFrom(alone.parameters[i].tensor)
  for (const run of [alone, resumed]) for (const given of gradients.slice(2)) take(run, given)
  for (const [i, { tensor }] of resumed.parameters.entries())
    t.strictSame(tensor.floats(), alone.parameters[i].tensor.floats())
  const adamw = new Map([['bias.exp_avg', stored.get('bias.exp_avg')!]])
  t.throws(() => resumed.optimizer.load(adamw, { step: 2 }), { code: 'ERR_SHAPE', message: /optimizer\.kind/ })
  for (const { parameters, optimizer } of [alone, resumed]) {
    optimizer.dispose()
    for (const { tensor } of parameters) {
      tensor.grad?.dispose()
      tensor.dispose()
    }
  }
})

t.test(
  'a parameter without a gradient is left as it is; none at all, and what is no matrix, are refused',
  async (t) => {
    using tensor = signed([4, 4], 1)
    using other = signed([4], 2)
    using before = signed([4, 4], 1)
    const optimizer = new Muon(
      [
        { name: 'w', tensor },
        { name: 'b', tensor: other },
      ],
      { matrices: (name) => (name === 'w' ? 1 : 0) },
    )
    t.throws(() => optimizer.step({ lr: 1, weightDecay: 1 }), { code: 'ERR_ARGUMENT', message: /run backward/ })
    withGrad(other, signed([4], 3))
    optimizer.step({ lr: 1, weightDecay: 1 })
    t.strictSame(tensor.floats(), before.floats())
    other.grad!.dispose()
    optimizer.dispose()
    t.throws(() => new Muon([{ name: 'b', tensor: other }], { matrices: () => 1 }), {
      code: 'ERR_ARGUMENT',
      message: /b has shape \(4\), expected 1 whole matrices/,
    })
    t.throws(() => new Muon([{ name: 'w', tensor }], { matrices: () => 3 }), {
      code: 'ERR_ARGUMENT',
      message: /expected 3/,
    })
  },
)

t.test('the matrices of blocks are hidden ones, all else is not', async (t) => {
  t.equal(hiddenMatrices('blocks.11.attn.mat_qkv.weight'), 3)
  t.equal(hiddenMatrices('feat_extract_blocks.0.cross_attn.mat_kv.weight'), 2)
  t.equal(hiddenMatrices('blocks.0.ffn.fc2.weight'), 1)
  for (const name of [
    'blocks.0.ffn.fc2.bias',
    'blocks.0.attn.scale_mul_1H11',
    'blocks.0.ada_gss',
    'word_embed.weight',
    'head_logits.weight',
    'encoder_proj.weight',
    'lvl_embed.weight',
    'blocks.0.attn.toString.weight',
  ])
    t.equal(hiddenMatrices(name), 0, name)
})
