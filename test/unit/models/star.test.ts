import t, { type Test } from 'tap'
import {
  drawDropPath,
  dropPathRates,
  levels,
  SamplerHead,
  ScaleDecoder,
  type StarConfigInput,
  StarTransformer,
  sliceDropPath,
  starConfig,
  tokenLoss,
  tokenMetrics,
} from '../../../lib/models/star/index.js'
import { native, StarError } from '../../../lib/native/index.js'
import type { Module } from '../../../lib/nn/index.js'
import { backward, clearTape, noGrad, Random, scope, slice, Tensor } from '../../../lib/tensor/index.js'
import { gradcheck, signed } from '../../support/gradcheck.js'
import { tinyInput, tinyLength, tinyModel, tinySizes, tinyTargets, tinyText } from '../../support/tiny-star.js'

const booleans = [true, false]
/** Every combination of the options that change the graph. */
const grid: Partial<StarConfigInput>[] = booleans.flatMap((attnL2Norm) =>
  booleans.flatMap((rope) =>
    booleans.flatMap((sharedAdaLN) =>
      booleans.flatMap((logitNorm) => [
        { attnL2Norm, rope, sharedAdaLN, logitNorm, levelEmbedding: true, crossAttention: 'per-sample' as const },
        { attnL2Norm, rope, sharedAdaLN, logitNorm, levelEmbedding: false, crossAttention: 'first-sample' as const },
      ]),
    ),
  ),
)
grid.push(
  { enableCross: false },
  { patchNums: [3] },
  { patchNums: [2, 3], rope: false },
  { depth: 1, heads: 1 },
  { mlpRatio: 2.5 },
)

const nameOf = (options: Partial<StarConfigInput>): string => JSON.stringify(options)

for (const options of grid) {
  t.test(`decoding scale by scale gives the logits of teacher forcing: ${nameOf(options)}`, async (t) => {
    using model = tinyModel(options)
    scope(() => {
      const text = tinyText(3)
      const first = model.levels[0].end
      const input = signed([3, model.length - first, tinySizes.latentChannels], 41)
      const all = noGrad(() => model.forward({ input, text })).floats()
      using decoder = new ScaleDecoder(model, { text })
      const vocab = tinySizes.vocabSize
      model.levels.forEach(({ begin, end }, k) => {
        const logits = noGrad(() =>
          model.logits(decoder.step(k, k === 0 ? null : slice(input, 1, begin - first, end - first))),
        ).floats()
        let worst = 0
        logits.forEach((z, i) => {
          const sample = Math.floor(i / ((end - begin) * vocab))
          const rest = i - sample * (end - begin) * vocab
          worst = Math.max(worst, Math.abs(z - all[(sample * model.length + begin) * vocab + rest]))
        })
        t.ok(worst < 1e-5, `scale ${k}: ${worst}`)
      })
    })
  })
}

t.test('a prompt used by several samples is encoded once and gives the same features', async (t) => {
  for (const crossAttention of ['per-sample', 'first-sample'] as const) {
    using model = tinyModel({ crossAttention })
    scope(() => {
      const text = tinyText(2)
      const features = (rows: number[]): Float32Array => {
        using decoder = new ScaleDecoder(model, { text, rows })
        return decoder.step(0, null).floats()
      }
      const width = tinySizes.width
      const both = features([0, 1, 0])
      t.strictSame(both.subarray(2 * width), both.subarray(0, width))
      t.strictSame(features([1]).length, width)
      if (crossAttention === 'per-sample') t.strictSame(features([1]), both.subarray(width, 2 * width))
      else t.notSame(features([1]), both.subarray(width, 2 * width), 'sample 0’s text is added to all')
    })
  }
})

t.test('the decoder refuses scales out of order and prompts that are not there', async (t) => {
  using model = tinyModel()
  scope(() => {
    const text = tinyText(1)
    t.throws(() => new ScaleDecoder(model, { text, rows: [1] }), {
      code: 'ERR_ARGUMENT',
      message: /rows are \[1\], expected indices of the 1 prompts/,
    })
    using decoder = new ScaleDecoder(model, { text })
    t.throws(() => decoder.step(1, tinyInput(1)), { code: 'ERR_ARGUMENT', message: /expected scale 0 without input/ })
    t.throws(() => decoder.step(0, tinyInput(1)), { code: 'ERR_ARGUMENT' })
  })
})

t.test('gradients reach every parameter and agree with differences', async (t) => {
  for (const options of [
    { sharedAdaLN: true, rope: false },
    { crossAttention: 'first-sample' as const },
    { attnL2Norm: false },
  ]) {
    using model = tinyModel(options)
    const text = tinyText(2)
    const input = tinyInput(2)
    const targets = tinyTargets(2)
    const loss = (): Tensor => tokenLoss(model.forward({ input, text }), targets, { labelSmoothing: 0.1 })
    const parameters = model.parameters()
    // One parameter at a time: the others keep their gradient wish, so that the graph stays the same.
    const error = gradcheck(() => loss(), parameters)
    t.ok(error < 2e-3, `${nameOf(options)}: ${error}`)
  }
})

t.test('a training step leaves no memory behind', async (t) => {
  using model = tinyModel({ sharedAdaLN: true, dropPath: 0.5 })
  const text = tinyText(2)
  const input = tinyInput(2)
  const targets = tinyTargets(2)
  const random = new Random(3)
  const before = native.memory('cpu').liveBytes
  for (let i = 0; i < 2; i++) {
    const dropPath = drawDropPath(model.config, 2, random)
    scope(() => backward(tokenLoss(model.forward({ input, text, dropPath }), targets)))
    model.zeroGrad()
  }
  clearTape()
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('a model and its decoder give all their memory back', async (t) => {
  const text = tinyText(2)
  const before = native.memory('cpu').liveBytes
  {
    using model = tinyModel({ sharedAdaLN: true, rope: false })
    using decoder = new ScaleDecoder(model, { text, rows: [0, 1, 1] })
    decoder.step(0, null).dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before)
})

t.test('stochastic depth follows its source of random numbers', async (t) => {
  using model = tinyModel({ dropPath: 0.9 })
  scope(() => {
    const run = (random: Random | null): Float32Array =>
      noGrad(() => {
        const dropPath = random && drawDropPath(model.config, 4, random)
        return model.forward({ input: tinyInput(4), text: tinyText(4), dropPath })
      }).floats()
    t.strictSame(run(new Random(1)), run(new Random(1)))
    t.notSame(run(new Random(1)), run(null))
    t.strictSame(run(null), run(null))
  })
  const drawn = drawDropPath({ depth: 3, dropPath: 0.5 }, 5, new Random(1))
  t.equal(drawn[0], null)
  t.ok(drawn[2]!.every((branch) => branch.every((factor) => factor === 0 || factor === 2)))
  t.strictSame(sliceDropPath(drawn, 2, 4)[2], [drawn[2]![0].slice(2, 4), drawn[2]![1].slice(2, 4)])
  t.strictSame(dropPathRates({ depth: 3, dropPath: 0.2 }), [0, 0.1, 0.2])
  t.strictSame(dropPathRates({ depth: 1 }), [0])
  t.equal(dropPathRates({ depth: 24 })[23], 0.1)
})

const rms = (model: Module, name: string): number => {
  const values = [...model.namedTensors()].find((n) => n.name === name)!.tensor.floats()
  return Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length)
}
/** What a normal cut at two standard deviations keeps of its spread. */
const cut = 0.8796

function near(t: Test, model: Module, name: string, expected: number): void {
  const found = rms(model, name)
  t.ok(Math.abs(found / expected - 1) < 0.1, `${name}: ${found}, expected ${expected}`)
}

t.test('first values have the spread that the depth asks for', async (t) => {
  using model = new StarTransformer({ ...tinySizes, width: 64, depth: 8 }, { init: new Random(1) })
  const base = Math.sqrt(1 / (3 * 64)) * cut
  near(t, model, 'blocks.0.attn.mat_qkv.weight', base)
  near(t, model, 'blocks.0.attn.proj.weight', base / 4)
  near(t, model, 'blocks.3.ffn.fc2.weight', base / 4)
  near(t, model, 'blocks.3.cross_attn.proj.weight', base)
  near(t, model, 'head_logits.weight', base * 0.02)
  t.equal(rms(model, 'blocks.0.ffn.fc1.bias'), 0)
  t.ok(Math.abs(rms(model, 'blocks.0.attn.scale_mul_1H11') - Math.log(4)) < 1e-6)
})

t.test('the sizes of first values can be set', async (t) => {
  const scales = { std: 0.05, head: 0.5, modulation: 2, gain: 3 }
  const sizes = { ...tinySizes, width: 64, depth: 8, sharedAdaLN: true }
  using model = new StarTransformer(sizes, { init: new Random(1), scales })
  near(t, model, 'blocks.0.attn.mat_qkv.weight', 0.05 * cut)
  near(t, model, 'blocks.0.cross_attn.mat_q.weight', 0.05 * cut)
  near(t, model, 'blocks.3.ffn.fc2.weight', (0.05 * cut) / 4)
  near(t, model, 'lvl_embed_adaln.1.weight', 0.05 * cut)
  near(t, model, 'head_logits.weight', 0.05 * 0.5 * cut)
  const modulation = [...model.namedTensors()].find((n) => n.name === 'blocks.1.ada_gss')!.tensor.floats()
  const spread = (values: Float32Array): number => Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length)
  t.ok(Math.abs(spread(modulation.subarray(0, 128)) / (3 / 8) - 1) < 0.2, 'gains')
  t.ok(Math.abs(spread(modulation.subarray(128)) / (2 / 8) - 1) < 0.2, 'scales and shifts')
  using head = new SamplerHead(sizes, { init: new Random(1), scales })
  near(t, head, 'head_proj.weight', 0.05 * cut)
  near(t, head, 'head_logits2.weight', 0.05 * 0.5 * cut)
})

t.test('metrics count right answers by scale', async (t) => {
  scope(() => {
    const targets = tinyTargets(1)
    const values = new Float32Array(tinyLength * tinySizes.vocabSize)
    // Scale 0 and the first half of scale 1 right, all else wrong.
    targets.ints().forEach((v, i) => {
      values[i * tinySizes.vocabSize + (i < 3 ? v : (v + 1) % tinySizes.vocabSize)] = 5
    })
    const metrics = tokenMetrics(
      Tensor.from(values, [1, tinyLength, tinySizes.vocabSize]),
      targets,
      levels(tinySizes.patchNums),
    )
    t.strictSame(
      metrics.perScale.map((s) => s?.accuracy),
      [100, 50, 0],
    )
    t.ok(Math.abs(metrics.accuracy - 300 / tinyLength) < 1e-9)
    const predicted = [...targets.ints()].map((v, i) => (i < 3 ? v : (v + 1) % tinySizes.vocabSize))
    t.equal(metrics.usage, (100 * new Set(predicted).size) / tinySizes.vocabSize)
    const lse = Math.log(Math.exp(5) + tinySizes.vocabSize - 1)
    t.ok(Math.abs((metrics.perScale[2]?.loss ?? 0) - lse) < 1e-5)
    t.ok(Math.abs(metrics.loss - (lse - (5 * 3) / tinyLength)) < 1e-5)
  })
})

t.test('configurations and inputs that make no sense are refused in words', async (t) => {
  t.throws(() => starConfig({ ...tinySizes, heads: 3 }), {
    code: 'ERR_CONFIG',
    message: /width 16 is not a multiple of heads 3/,
  })
  t.throws(() => starConfig({ ...tinySizes, width: 12 }), {
    code: 'ERR_CONFIG',
    message: /head size 6 is not a multiple of 4/,
  })
  t.throws(() => starConfig({ ...tinySizes, patchNums: [] }), StarError)
  t.throws(() => starConfig(Object.assign({ ...tinySizes }, { with: 3 })), { code: 'ERR_CONFIG', message: /with/ })
  using model = tinyModel()
  scope(() => {
    t.throws(() => model.forward({ input: tinyInput(2), text: tinyText(3) }), {
      code: 'ERR_SHAPE',
      message: /input has shape \(2, 13, 3\), expected \(3, 13, 3\)/,
    })
    t.throws(() => model.forward({ input: tinyInput(2), text: { ...tinyText(2), mask: tinyText(1).mask } }), {
      code: 'ERR_SHAPE',
      message: /text.mask/,
    })
  })
})
