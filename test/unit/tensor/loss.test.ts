import t from 'tap'
import { backward, crossEntropy, mulSum, scope, Tensor } from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { gradcheck, signed, signedValues } from '../../support/gradcheck.js'

const targetsOf = (rows: number, vocab: number): Int32Array =>
  Int32Array.from({ length: rows }, (_, i) => (i * 7 + 3) % vocab)

/** The formula in float64, one row at a time. */
function reference(
  z: Float32Array,
  targets: Int32Array,
  vocab: number,
  ls: number,
): { losses: number[]; predictions: number[] } {
  const losses: number[] = []
  const predictions: number[] = []
  targets.forEach((target, r) => {
    const row = z.subarray(r * vocab, (r + 1) * vocab)
    const max = Math.max(...row)
    const lse = max + Math.log(row.reduce((s, v) => s + Math.exp(v - max), 0))
    losses.push(lse - (1 - ls) * row[target] - (ls * row.reduce((s, v) => s + v, 0)) / vocab)
    predictions.push(row.indexOf(max))
  })
  return { losses, predictions }
}

for (const [rows, vocab] of [
  [1, 1],
  [3, 2],
  [5, 17],
  [4, 33],
  [7, 100],
  [130, 257],
  [3, 4096],
]) {
  for (const labelSmoothing of [0, 0.1]) {
    t.test(`crossEntropy of ${rows} rows of ${vocab}, label smoothing ${labelSmoothing}`, async (t) => {
      const z = signedValues(rows * vocab, rows + vocab).map((v) => 8 * v)
      const targets = targetsOf(rows, vocab)
      const expected = reference(z, targets, vocab, labelSmoothing)
      scope(() => {
        const { losses, predictions } = crossEntropy(Tensor.from(z, [rows, vocab]), Tensor.from(targets, [rows]), {
          labelSmoothing,
        })
        t.ok(relativeError(losses, expected.losses) < 1e-6)
        t.strictSame([...predictions.ints()], expected.predictions)
      })
    })
  }
}

for (const labelSmoothing of [0, 0.1]) {
  t.test(`crossEntropy with an extra class, label smoothing ${labelSmoothing}`, async (t) => {
    const [rows, vocab] = [6, 33]
    const z = signedValues(rows * vocab, 8).map((v) => 8 * v)
    const targets = targetsOf(rows, vocab)
    // The same rows with a column of zeros behind them, without smoothing: its share is of the V columns alone.
    const wide = Float32Array.from({ length: rows * (vocab + 1) }, (_, i) => {
      const column = i % (vocab + 1)
      return column < vocab ? z[Math.floor(i / (vocab + 1)) * vocab + column] : 0
    })
    const extended = reference(wide, targets, vocab + 1, 0).losses
    const plain = reference(z, targets, vocab, 0)
    const smoothed = reference(z, targets, vocab, labelSmoothing).losses
    scope(() => {
      const { losses, nll, predictions } = crossEntropy(Tensor.from(z, [rows, vocab]), Tensor.from(targets, [rows]), {
        labelSmoothing,
        extraClass: true,
      })
      const expected = smoothed.map((loss, r) => loss + extended[r] - plain.losses[r])
      t.ok(relativeError(losses, expected) < 1e-6)
      t.ok(relativeError(nll, plain.losses) < 1e-6)
      t.strictSame([...predictions.ints()], plain.predictions)
    })
    const logits = signed([4, 16], 3, 3)
    logits.requiresGrad = true
    const few = Tensor.from(targetsOf(4, 16), [4])
    t.ok(gradcheck((z) => crossEntropy(z, few, { labelSmoothing, extraClass: true }).losses, [logits]) < 2e-3)
  })
}

t.test('crossEntropy is stable for large logits and picks the lowest index on a tie', async (t) => {
  scope(() => {
    const z = new Float32Array(40).fill(1e4)
    z[0] = -1e4
    const { losses, predictions } = crossEntropy(Tensor.from(z, [1, 40]), Tensor.from([5], [1], { dtype: 'i32' }))
    t.ok(Math.abs(losses.item() - Math.log(39)) < 1e-3)
    t.equal(predictions.item(), 1)
  })
})

t.test('crossEntropy keeps excluded classes (−∞) out of the loss', async (t) => {
  scope(() => {
    const z = Float32Array.from([0, -Infinity, 0, -Infinity, 0])
    const { losses } = crossEntropy(Tensor.from(z, [1, 5]), Tensor.from([0], [1], { dtype: 'i32' }))
    t.ok(Math.abs(losses.item() - Math.log(3)) < 1e-6)
  })
})

for (const [rows, vocab] of [
  [1, 3],
  [4, 16],
  [3, 37],
]) {
  for (const labelSmoothing of [0, 0.1]) {
    t.test(`crossEntropy gradient, ${rows} rows of ${vocab}, label smoothing ${labelSmoothing}`, async (t) => {
      const logits = signed([rows, vocab], 3, 3)
      logits.requiresGrad = true
      const targets = Tensor.from(targetsOf(rows, vocab), [rows])
      t.ok(gradcheck((z) => crossEntropy(z, targets, { labelSmoothing }).losses, [logits]) < 2e-3)
    })
  }
}

t.test('crossEntropy gradient of a row sums to nothing', async (t) => {
  scope(() => {
    const logits = signed([2, 50], 1, 5)
    logits.requiresGrad = true
    const { losses } = crossEntropy(logits, Tensor.from([4, 9], [2], { dtype: 'i32' }), { labelSmoothing: 0.2 })
    backward(mulSum(losses, Tensor.from([2, -3], [2])))
    const g = logits.grad!.floats()
    for (const r of [0, 1]) t.ok(Math.abs(g.subarray(r * 50, (r + 1) * 50).reduce((s, v) => s + v, 0)) < 1e-5)
    logits.dispose()
  })
})

t.test('crossEntropy refuses what does not fit', async (t) => {
  const logits = signed([2, 5])
  t.throws(() => crossEntropy(logits, Tensor.from([0, 5], [2], { dtype: 'i32' })), {
    code: 'ERR_ARGUMENT',
    message: /target 5 at position 1/,
  })
  t.throws(() => crossEntropy(logits, Tensor.from([0], [1], { dtype: 'i32' })), {
    code: 'ERR_SHAPE',
    message: /targets has shape \(1\)/,
  })
  t.throws(() => crossEntropy(logits, Tensor.from([0, 1], [2])), { code: 'ERR_DTYPE' })
  t.throws(() => crossEntropy(logits, Tensor.from([0, 1], [2], { dtype: 'i32' }), { labelSmoothing: 1 }), {
    code: 'ERR_ARGUMENT',
  })
})
