import t from 'tap'
import {
  chooseTokens,
  levels,
  ropeTable,
  type StarConfigInput,
  type StarTransformer,
  type TextInput,
  TokenSubset,
  tokenLoss,
  tokenMetrics,
} from '../../../lib/models/star/index.js'
import { textKeysValues } from '../../../lib/models/star/transformer.js'
import {
  add,
  attention,
  backward,
  concat,
  embedding,
  layerNorm,
  linear,
  noGrad,
  Random,
  reshape,
  scope,
  splitHeads,
  Tensor,
} from '../../../lib/tensor/index.js'
import { relativeError } from '../../support/compare.js'
import { tinyInput, tinyLength, tinyModel, tinySizes, tinyTargets, tinyText } from '../../support/tiny-star.js'

const all = levels(tinySizes.patchNums) // tokens 0, 1–4, 5–13
const range = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i)

t.test('token drop keeps what it should, the same with the same seed', async (t) => {
  const drop = { fromScale: 2, keep: 9 }
  const random = new Random(5)
  const subset = chooseTokens(all, { drop }, random)
  t.ok(subset)
  t.equal(subset?.length, 9)
  t.strictSame(subset?.positions.subarray(0, 5), range(5), 'the coarse scales stay whole')
  t.strictSame(
    subset?.levels.map(({ begin, end }) => [begin, end]),
    [
      [0, 1],
      [1, 5],
      [5, 9],
    ],
  )
  t.strictSame(chooseTokens(all, { drop }, new Random(5))?.positions, subset?.positions)
  t.notSame(chooseTokens(all, { drop }, random)?.positions, subset?.positions, 'other ones at the next step')

  const seen = new Set<number>()
  for (let i = 0; i < 60; i++) for (const p of chooseTokens(all, { drop }, random)?.positions ?? []) seen.add(p)
  t.equal(seen.size, tinyLength, 'every position has its turn')

  const untouched = random.state()
  t.equal(chooseTokens(all, { drop: { fromScale: 2, keep: tinyLength } }, random), null)
  t.equal(chooseTokens(all, {}, random), null)
  t.strictSame(chooseTokens(all, { scales: 2, drop }, random)?.positions, range(5), 'nothing to drop yet')
  t.strictSame(random.state(), untouched, 'without drop nothing is drawn')

  const both = chooseTokens(all, { scales: 2, drop: { fromScale: 1, keep: 3 } }, random)
  t.equal(both?.length, 3)
  t.strictSame(both?.levels[2], { rows: 3, cols: 3, begin: 3, end: 3 })
})

t.test('subsets that make no sense are refused', async (t) => {
  for (const positions of [[], [1, 2], [0, 3, 2], [0, 2, 2], [0, tinyLength]])
    t.throws(() => new TokenSubset(all, Int32Array.from(positions)), { code: 'ERR_ARGUMENT', message: /token subset/ })
})

/** Logits and the gradient of every parameter. */
function run(
  model: StarTransformer,
  logitsOf: () => Tensor,
  targets: Tensor,
): { logits: Float32Array; grads: Map<string, Float32Array> } {
  return scope(() => {
    const logits = logitsOf()
    backward(tokenLoss(logits, targets, { labelSmoothing: 0.1 }))
    const grads = new Map(
      [...model.namedTensors()].flatMap(({ name, tensor }) => (tensor.grad ? [[name, tensor.grad.floats()]] : [])),
    )
    const values = logits.floats()
    model.zeroGrad()
    return { logits: values, grads }
  })
}

const options: Partial<StarConfigInput>[] = [
  {},
  { rope: false },
  { sharedAdaLN: true },
  { crossAttention: 'first-sample', attnL2Norm: false },
  { enableCross: false, levelEmbedding: false },
]

for (const option of options) {
  const name = JSON.stringify(option)

  t.test(`all tokens as a subset give the same bits: ${name}`, async (t) => {
    using model = tinyModel(option)
    const [input, text, targets] = [tinyInput(2), tinyText(2), tinyTargets(2)]
    const subset = new TokenSubset(all, range(tinyLength))
    const whole = run(model, () => model.forward({ input, text }), targets)
    const chosen = run(
      model,
      () => model.forward({ input: subset.cutInput(input), text, subset }),
      subset.cutTargets(targets),
    )
    t.strictSame(chosen.logits, whole.logits)
    t.strictSame(chosen.grads, whole.grads)
  })

  t.test(`the first scales alone have the logits they have among all: ${name}`, async (t) => {
    using model = tinyModel(option)
    scope(() => {
      const [input, text] = [tinyInput(2), tinyText(2)]
      const whole = noGrad(() => model.forward({ input, text })).floats()
      for (const scales of [1, 2]) {
        const subset = chooseTokens(all, { scales }, new Random(1))
        if (!subset) return t.fail('no subset')
        const part = noGrad(() => model.forward({ input: subset.cutInput(input), text, subset })).floats()
        const n = subset.length * tinySizes.vocabSize
        for (let b = 0; b < 2; b++) {
          const begin = b * tinyLength * tinySizes.vocabSize
          const error = relativeError(part.subarray(b * n, (b + 1) * n), whole.subarray(begin, begin + n))
          t.ok(error < 1e-6, `${scales} scales, sample ${b}: ${error}`)
        }
      }
    })
  })
}

/** The transformer over all L tokens, in which nobody sees the keys whose `seen` is 0. */
function denseForward(model: StarTransformer, input: Tensor, text: TextInput, seen: Uint8Array): Tensor {
  const { config } = model
  const batch = input.dim(0)
  const ids = Int32Array.from(all.flatMap(({ rows, cols }, k) => new Array<number>(rows * cols).fill(k)))
  const keyLimit = Tensor.from(
    ids.map((k) => all[k].end),
    [tinyLength],
  )
  const keyMask = Tensor.from(
    Uint8Array.from({ length: batch * tinyLength }, (_, i) => seen[i % tinyLength]),
    [batch, tinyLength],
  )
  const { ropeTheta: theta, ropeNorm: norm } = config
  const rope = config.rope
    ? ropeTable(tinySizes.patchNums, { headSize: config.width / config.heads, theta, norm })
    : undefined
  const attended = model.attendedText(text)
  let x = concat([model.startTokens(text.pooled), model.wordEmbed.forward(input)], 1)
  if (model.levelEmbed) x = add(x, model.levelEmbed.forward(Tensor.from(ids, [tinyLength])))
  if (model.positions) x = add(x, reshape(model.positions, [tinyLength, config.width]))
  for (const block of model.blocks) {
    const { qkv, qBias, zeroKBias, vBias, logScale, proj } = block.attention
    const packed = linear(layerNorm(x), qkv.weight, concat([qBias, zeroKBias, vBias], 0))
    const [q, k, v] = splitHeads(packed, config.heads, [
      { l2Norm: true, logScale: logScale ?? undefined, rope },
      { l2Norm: true, rope },
      {},
    ])
    x = add(x, proj.forward(reshape(attention(q, k, v, { keyLimit, keyMask }), x.shape)))
    const keys = attended && textKeysValues(block, attended)
    if (block.cross && keys) x = add(x, block.cross.forward(layerNorm(x), keys))
    x = add(x, block.feedForward.forward(layerNorm(x)))
  }
  return model.logits(x)
}

for (const { rope, ...drop } of [
  { fromScale: 2, keep: 8, rope: true },
  { fromScale: 1, keep: 6, rope: true },
  { fromScale: 2, keep: 8, rope: false },
])
  t.test(`dropping is hiding from a dense computation: rope ${rope}, ${JSON.stringify(drop)}`, async (t) => {
    using model = tinyModel({ rope })
    const [input, text, targets] = [tinyInput(2), tinyText(2), tinyTargets(2)]
    const subset = chooseTokens(all, { drop }, new Random(2))
    if (!subset) return t.fail('no subset')
    const seen = new Uint8Array(tinyLength)
    for (const p of subset.positions) seen[p] = 1
    const rows = Tensor.from(
      Int32Array.from({ length: 2 * subset.length }, (_, i) => {
        const b = Math.floor(i / subset.length)
        return b * tinyLength + subset.positions[i - b * subset.length]
      }),
      [2, subset.length],
    )
    const kept = subset.cutTargets(targets)
    const dense = run(
      model,
      () => embedding(reshape(denseForward(model, input, text, seen), [2 * tinyLength, -1]), rows),
      kept,
    )
    const dropped = run(model, () => model.forward({ input: subset.cutInput(input), text, subset }), kept)
    t.ok(relativeError(dropped.logits, dense.logits) < 1e-6)
    t.strictSame([...dropped.grads.keys()], [...dense.grads.keys()])
    for (const [name, grad] of dropped.grads) {
      const error = relativeError(grad, dense.grads.get(name) ?? new Float32Array(grad.length))
      t.ok(error < 2e-5, `${name}: ${error}`)
    }
    const seenByAll = run(
      model,
      () => embedding(reshape(model.forward({ input, text }), [2 * tinyLength, -1]), rows),
      kept,
    )
    t.ok(relativeError(seenByAll.logits, dropped.logits) > 1e-4, 'what is dropped mattered')
  })

t.test('weights of tokens scale their losses', async (t) => {
  scope(() => {
    using model = tinyModel()
    const [input, text, targets] = [tinyInput(2), tinyText(2), tinyTargets(2)]
    const logits = noGrad(() => model.forward({ input, text }))
    const even = new Float32Array(tinyLength).fill(1 / tinyLength)
    const loss = tokenLoss(logits, targets).item()
    t.ok(Math.abs(tokenLoss(logits, targets, { weights: even }).item() - loss) < 1e-6)
    const { perScale } = tokenMetrics(logits, targets, all)
    const lastOnly = new Float32Array(tinyLength).fill(0.5, all[2].begin)
    const expected = 0.5 * 9 * (perScale[2]?.loss ?? 0)
    t.ok(Math.abs(tokenLoss(logits, targets, { weights: lastOnly }).item() - expected) < 1e-5)
    t.throws(() => tokenLoss(logits, targets, { weights: even.subarray(1) }), {
      code: 'ERR_SHAPE',
      message: /13 weights/,
    })
    const { perScale: some } = tokenMetrics(logits, targets, [all[0], all[1], { rows: 3, cols: 3, begin: 5, end: 5 }])
    t.equal(some[2], null, 'no figures of a scale without tokens')
  })
})
