import t from 'tap'
import { levels, scaleShares, tokenLoss, tokenWeights } from '../../../lib/models/star/index.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'

const scales = levels([1, 2, 4])

t.test('shares follow the rule and sum to 1', async (t) => {
  t.strictSame(scaleShares('tokens', scales), [1 / 21, 4 / 21, 16 / 21])
  t.strictSame(scaleShares('side', scales), [1 / 7, 2 / 7, 4 / 7])
  t.strictSame(scaleShares('equal', scales), [1 / 3, 1 / 3, 1 / 3])
  t.strictSame(scaleShares([2, 1, 1], scales), [0.5, 0.25, 0.25])
})

t.test('tokens of a scale share its part, whatever their number', async (t) => {
  const all = tokenWeights([0.5, 0.25, 0.25], scales)
  t.strictSame([...all], [0.5, ...Array(4).fill(1 / 16), ...Array(16).fill(1 / 64)])
  const cut = [
    { rows: 1, cols: 1, begin: 0, end: 1 },
    { rows: 2, cols: 2, begin: 1, end: 5 },
    { rows: 4, cols: 4, begin: 5, end: 7 },
  ]
  t.strictSame([...tokenWeights([0.5, 0.25, 0.25], cut)], [0.5, ...Array(4).fill(1 / 16), 1 / 8, 1 / 8])
  const coarse = cut.map((range, k) => (k === 2 ? { ...range, end: 5 } : range))
  t.equal(tokenWeights([0.5, 0.25, 0.25], coarse).length, 5, 'a scale that is not computed has no weights')
})

t.test('the loss is the mean of the scales’ losses where they count equally', async (t) => {
  const loss = scope(() => {
    // Two classes: the first token's cross-entropy is log(1 + e), that of the others log 2.
    const logits = Tensor.from([1, 0, ...Array(8).fill(0)], [1, 5, 2]) // (B, L, V)
    const targets = Tensor.from([1, 0, 0, 0, 0], [1, 5], { dtype: 'i32' }) // (B, L)
    const two = levels([1, 2])
    return tokenLoss(logits, targets, { weights: tokenWeights(scaleShares('equal', two), two) }).item()
  })
  t.ok(Math.abs(loss - (Math.log(1 + Math.E) + Math.log(2)) / 2) < 1e-6, String(loss))
})

t.test('lists that do not fit are refused', async (t) => {
  t.throws(() => scaleShares([1, 2], scales), { code: 'ERR_CONFIG', message: /2 weights, expected 3/ })
  t.throws(() => scaleShares([0, 0, 0], scales), { code: 'ERR_CONFIG', message: /all 0/ })
})
