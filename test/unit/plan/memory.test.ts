// Plans against what models take: counts exactly, bytes within 15 %.
import t from 'tap'
import {
  isBlockMatrix,
  ScaleDecoder,
  type StarConfigInput,
  StarTransformer,
  starConfig,
  tokenCount,
  tokenLoss,
} from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import { buildIn, type WeightType } from '../../../lib/nn/index.js'
import {
  checkFits,
  planGeneration,
  blockTape as planTapeOfBlock,
  planTraining,
  transformerCounts,
} from '../../../lib/plan/index.js'
import { clearTape, noGrad, Random, scope, zeros } from '../../../lib/tensor/index.js'

const sizes = {
  depth: 3,
  width: 128,
  heads: 4,
  patchNums: [1, 2, 3, 4, 6],
  vocabSize: 512,
  latentChannels: 32,
  textWidth: 96,
} satisfies StarConfigInput

t.test('counts are those of the model', async (t) => {
  for (const options of [
    {},
    { sharedAdaLN: true },
    { rope: false, patchNums: [2, 4] },
    { levelEmbedding: false, attnL2Norm: false, mlpRatio: 2.7 },
    { enableCross: false },
  ]) {
    const config = starConfig({ ...sizes, ...options })
    using model = new StarTransformer(config)
    const { body, head, buffers, matrices, rows } = transformerCounts(config)
    t.equal(body + head, model.parameterCount(), JSON.stringify(options))
    const all = [...model.namedTensors()].reduce((sum, { tensor }) => sum + tensor.count, 0)
    t.equal(body + head + buffers, all, 'with buffers')
    const ofBlocks = [...model.namedTensors()].filter(({ name }) => isBlockMatrix(name))
    t.equal(
      ofBlocks.reduce((sum, { tensor }) => sum + tensor.count, 0),
      matrices,
      'matrices of the blocks',
    )
    t.equal(
      ofBlocks.reduce((sum, { tensor }) => sum + tensor.dim(0), 0),
      rows,
    )
  }
})

const within = (planned: number, measured: number): boolean => Math.abs(planned / measured - 1) <= 0.15

t.test('activations of a step', async (t) => {
  for (const [options, samples, precision, recompute] of [
    [{}, 4, 'f32', false],
    [{}, 16, 'f32', false],
    [{}, 8, 'bf16', false],
    [{ width: 256, depth: 2 }, 8, 'f32', false],
    [{ depth: 8 }, 8, 'f32', true],
    [{ enableCross: false, mlpRatio: 2 }, 8, 'f32', false],
    [{ sharedAdaLN: true }, 8, 'f32', false],
  ] as const) {
    const config = starConfig({ ...sizes, ...options })
    const model = new StarTransformer(config, { init: new Random(1) })
    if (precision !== 'f32') for (const master of model.toHalf(precision).values()) master.dispose()
    const textLength = 20
    const length = tokenCount(config.patchNums)
    const text = { states: zeros([samples, textLength, 96]), pooled: zeros([samples, 96]), mask: null }
    const input = zeros([samples, length - 1, 32])
    const targets = zeros([samples, length], { dtype: 'i32' })
    const given = 4 * (text.states.count + text.pooled.count + input.count)
    const before = native.memory('cpu').liveBytes
    native.resetPeakMemory('cpu')
    scope(() => {
      const loss = tokenLoss(model.forward({ input, text, recompute }), targets)
      t.ok(Number.isFinite(loss.item()))
      const measured = native.memory('cpu').liveBytes - before + given
      const { parts } = planTraining({
        config,
        samples,
        accumulate: 1,
        precision,
        recompute,
        average: false,
        processes: 1,
        shard: false,
        textLength,
        tokenizer: 0,
      })
      const bytes = new Map(parts)
      // Before backward there are no gradients of the logits yet, and of recomputed blocks only what goes in.
      const size = precision === 'f32' ? 4 : 2
      const planned =
        bytes.get('activations of the blocks')! +
        bytes.get('logits and inputs')! -
        size * samples * length * config.vocabSize -
        (recompute ? planTapeOfBlock(config, samples, textLength, size) : 0)
      t.ok(
        within(planned, measured),
        `${JSON.stringify([options, samples, precision, recompute])}: ${Math.round(planned)} planned, ${measured} measured`,
      )
    })
    clearTape()
    for (const tensor of [text.states, text.pooled, input, targets]) tensor.dispose()
    model.dispose()
  }
})

t.test('several processes: buckets for all gradients, and of a sharded optimizer a part each', async (t) => {
  const config = starConfig(sizes)
  const plan = (more: object) =>
    planTraining({
      ...{ config, samples: 1, accumulate: 1, precision: 'bf16', recompute: true, average: true },
      ...{ processes: 1, shard: false, textLength: 20, tokenizer: 0, ...more },
    })
  const bytesOf = (name: string, more: object): number => new Map(plan(more).parts).get(name)!
  const { body, head } = transformerCounts(config)
  const count = body + head
  for (const name of ['f32 masters of the weights', 'averaged weights']) {
    t.equal(bytesOf(name, { processes: 4 }), 4 * count, name)
    t.equal(bytesOf(name, { processes: 4, shard: true }), 4 * Math.ceil(count / 4), name)
  }
  t.equal(bytesOf('AdamW moments', { processes: 4, shard: true }), 8 * Math.ceil(count / 4))
  t.equal(bytesOf('buckets of gradients', {}), 0)
  t.equal(bytesOf('buckets of gradients', { processes: 2 }), 2 * count)
  t.equal(bytesOf('buckets of gradients', { processes: 2, accumulate: 2 }), 4 * count)
  t.equal(bytesOf('buckets of gathered weights', { processes: 2, accumulate: 2, shard: true }), 2 * count)
  const [two, four] = [2, 4].map((processes) => plan({ processes, shard: true }).peak)
  t.ok(Math.abs(two - four - 16 * (count / 2 - count / 4)) < 100, 'what is sharded is 16 bytes a weight')
})

t.test('a generation', async (t) => {
  for (const [options, dtype] of [
    [{}, 'f32'],
    [{ width: 256, heads: 8 }, 'bf16'],
    [{ depth: 8 }, 'f16'],
  ] as [Partial<StarConfigInput>, WeightType][]) {
    const config = starConfig({ ...sizes, patchNums: [1, 4, 12, 24], ...options })
    const before = native.memory('cpu').liveBytes
    native.resetPeakMemory('cpu')
    using model = buildIn(dtype, () => new StarTransformer(config)).setTrainable(false)
    noGrad(() =>
      scope(() => {
        const text = { states: zeros([4, 20, 96]), pooled: zeros([4, 96]), mask: null }
        using decoder = new ScaleDecoder(model, { text })
        for (const [k, side] of config.patchNums.entries())
          scope(() => void model.logits(decoder.step(k, k === 0 ? null : zeros([4, side * side, 32]))))
      }),
    )
    const measured = native.memory('cpu').peakBytes - before
    const { peak } = planGeneration({
      config,
      images: 2,
      guided: true,
      dtype,
      textLength: 20,
      tokenizer: 0,
      textEncoder: 0,
      baseChannels: 0,
      pixels: 0,
    })
    t.ok(
      within(peak, measured),
      `${JSON.stringify([options, dtype])}: ${Math.round(peak)} planned, ${measured} measured`,
    )
  }
})

t.test('what does not fit is refused with what to change', async (t) => {
  const plan = { parts: [['weights', 3e9]] as const, peak: 3e9 }
  checkFits(plan, 3e9, 'this machine', ['take less'])
  t.throws(() => checkFits(plan, 2.9e9, 'this machine', ['take less', 'buy more']), {
    code: 'ERR_MEMORY',
    message: /3\.00 GB, and this machine has 2\.90 GB \(weights 3\.00 GB\): take less, or buy more/,
  })
})
