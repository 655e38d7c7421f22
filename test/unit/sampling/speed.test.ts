/** Drawing faster: guidance that ends early, and tokens that are left out. */
import t from 'tap'
import { SamplerHead, type StarConfigInput, StarTransformer, type TextInput } from '../../../lib/models/star/index.js'
import { MultiScaleQuantizer, tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import {
  GraphPool,
  generate,
  type SamplingOptions,
  type SpeedOptions,
  speedOf,
  speedsOf,
  withSpeed,
} from '../../../lib/sampling/index.js'
import { Random, scope, setDefaultDevice, Tensor } from '../../../lib/tensor/index.js'
import { useDevice } from '../../support/device.js'
import { signedValues } from '../../support/gradcheck.js'
import { plainFastGeneration } from '../../support/plain-speed.js'
import { sample } from '../../support/sampled.js'

const device = useDevice('simt')
const patchNums = [1, 2, 3, 4, 5]
const config = {
  depth: 3,
  width: 16,
  heads: 2,
  patchNums,
  vocabSize: 12,
  latentChannels: 4,
  textWidth: 6,
} satisfies StarConfigInput

/** Large enough that tokens depend on everything. */
const strong = (count: number, salt: number): Float32Array => Float32Array.from(signedValues(count, salt), (x) => 3 * x)

const textOf = (count: number): TextInput => ({
  states: Tensor.from(strong(count * 3 * 6, 21), [count, 3, 6]),
  pooled: Tensor.from(strong(count * 6, 22), [count, 6]),
  mask: null,
})

function modelsOf(changes: Partial<StarConfigInput> = {}) {
  const transformer = new StarTransformer({ ...config, ...changes }, { init: new Random(7) })
  let salt = 1
  for (const { tensor, trainable } of transformer.namedTensors())
    if (trainable) tensor.write(signedValues(tensor.count, salt++).map((value) => 0.7 * value))
  const { vocabSize, latentChannels } = config
  const quantizer = new MultiScaleQuantizer(tokenizerSchema.parse({ patchNums, vocabSize, latentChannels }), {
    init: new Random(5),
  })
  return { transformer, quantizer }
}

async function withModels(
  fn: (models: ReturnType<typeof modelsOf> & { text: TextInput }) => Promise<void>,
  changes: Partial<StarConfigInput> = {},
): Promise<void> {
  const before = native.memory('cpu').liveBytes
  const models = modelsOf(changes)
  const text = textOf(4)
  try {
    await fn({ ...models, text })
  } finally {
    for (const owned of [models.transformer, models.quantizer, text.states, text.pooled]) owned.dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
}

const fast: SpeedOptions = { unguidedFrom: 3, temperature: 0.5 }
const pruned: SpeedOptions = { prune: { from: 2, keep: [0.5, 0.25] } }
const some: SpeedOptions = { ...fast, prune: { from: 1, keep: [0.6, 0.4], blocks: [1, 2] } }
const cases: Record<string, SpeedOptions> = { fast, turbo: { ...fast, ...pruned }, pruned, 'some blocks': some }

for (const crossAttention of ['per-sample', 'first-sample'] as const)
  for (const [name, speed] of Object.entries(cases))
    t.test(`pictures are those of the plain method: ${name}, ${crossAttention}`, async (t) => {
      await withModels(
        async ({ transformer, quantizer, text }) => {
          const options = { transformer, quantizer, text, independent: true }
          const seen = new Set<string>()
          for (const [seed, cfg] of [
            [1, 2],
            [2, 5],
            [3, 0],
          ]) {
            const settings = { cfg, seed, topK: 0, topP: 0 }
            const drawn = await sample({ ...options, settings: { ...settings, speed }, prompts: [1], empty: [3] })
            const plain = scope(() =>
              plainFastGeneration({ transformer, quantizer }, { text, prompt: 1, away: 3, settings, ...speed }),
            )
            t.same(drawn.tokens, plain.tokens, `seed ${seed}, guidance ${cfg}`)
            t.ok(drawn.fHat.every((x, i) => Math.abs(x - plain.fHat[i]) < 1e-4))
            const full = await sample({ ...options, settings, prompts: [1], empty: [3] })
            if (cfg > 0 || speed.prune) t.notSame(drawn.fHat, full.fHat, 'something was left out')
            else t.same(drawn.fHat, full.fHat, 'without guidance there is none to leave out')
            seen.add(drawn.tokens.join())
          }
          t.equal(seen.size, 3)
        },
        { crossAttention },
      )
    })

t.test('shapes leave out the same', async (t) => {
  await withModels(async ({ transformer, quantizer, text }) => {
    const [rows, cols] = [3, 7]
    for (const [name, speed] of Object.entries(cases)) {
      const settings = { cfg: 3, seed: 4, topK: 0, topP: 0 }
      const drawn = await sample({
        ...{ transformer, quantizer, text, independent: true, prompts: [1], empty: [3] },
        ...{ settings: { ...settings, speed }, grid: { rows, cols } },
      })
      const plain = scope(() =>
        plainFastGeneration(
          { transformer, quantizer },
          { text, prompt: 1, away: 3, settings, size: [rows, cols], ...speed },
        ),
      )
      t.same(drawn.tokens, plain.tokens, name)
      t.ok(drawn.fHat.every((x, i) => Math.abs(x - plain.fHat[i]) < 1e-4))
      t.equal(drawn.fHat.length, rows * cols * 4)
    }
  })
})

t.test('pictures do not depend on what else is in their batch', async (t) => {
  await withModels(async ({ transformer, quantizer, text }) => {
    const settings: SamplingOptions = { cfg: 3, topK: 0, topP: 0, speed: cases.turbo }
    const noise = {
      draw: (rows: number) =>
        Tensor.from(
          Array.from({ length: rows }, () => 0.4),
          [rows],
        ),
      order: () => Tensor.empty([0]),
      gumbel: () => Tensor.empty([0]),
    }
    const options = { transformer, quantizer, text, settings, noise, independent: true, empty: 3 }
    const together = await sample({ ...options, prompts: [0, 1, 2] })
    for (const row of [0, 1, 2]) {
      const alone = await sample({ ...options, prompts: [row] })
      const size = alone.fHat.length
      const own = together.fHat.slice(row * size, (row + 1) * size)
      t.ok(own.every((x, i) => Math.abs(x - alone.fHat[i]) < 1e-4))
    }
    const mixed = [
      { row: 0, weight: 1 },
      { row: 1, weight: 0 },
    ]
    const first = await sample({ ...options, prompts: [0] })
    const both = await sample({ ...options, prompts: [mixed] })
    t.ok(
      both.fHat.every((x, i) => Math.abs(x - first.fHat[i]) < 1e-4),
      'several texts of a picture',
    )
  })
})

t.test('recorded scales leave out the same', async (t) => {
  setDefaultDevice(device)
  const before = native.memory(device).liveBlocks
  const runs: SamplingOptions[] = [
    { speed: cases.turbo },
    { speed: some, cfg: 0 },
    { speed: cases.turbo, stableFrom: 3 },
    { speed: fast, moreSmooth: true, topK: 3 },
    { speed: fast, moreSmooth: true, topK: 1 },
  ]
  for (const crossAttention of ['per-sample', 'first-sample'] as const) {
    const { transformer, quantizer } = modelsOf({ crossAttention })
    const samplerHead = new SamplerHead(transformer.config, { init: new Random(8) })
    const graphs = new GraphPool()
    for (const own of runs)
      for (const seed of [1, 2, 3, 4, 5, 6]) {
        const text = textOf(3)
        // The square and another shape, each recorded and played back.
        const grid = seed % 2 === 0 ? { rows: 3, cols: 6 } : undefined
        const options = { transformer, quantizer, samplerHead, text, empty: 2, independent: true, grid }
        const settings = { cfg: 3, topK: 0, topP: 0, ...own, seed }
        const plain = await sample({ ...options, settings })
        t.same(await sample({ ...options, settings, graphs }), plain, JSON.stringify(settings))
        for (const tensor of [text.states, text.pooled]) tensor.dispose()
      }
    graphs.dispose()
    for (const owned of [transformer, quantizer, samplerHead]) owned.dispose()
  }
  t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
  setDefaultDevice('cpu')
})

t.test('where guidance is off, tokens are drawn and nothing is mixed softly', async (t) => {
  await withModels(async ({ transformer, quantizer, text }) => {
    const settings: SamplingOptions = { cfg: 3, topK: 1, moreSmooth: true, speed: fast }
    const { tokens } = await sample({ transformer, quantizer, text, empty: 3, settings })
    t.same(
      tokens.map((drawn) => drawn.length),
      [0, 0, 0, 3 * 16, 3 * 25],
    )
  })
})

t.test('presets follow the number of scales, or the model', async (t) => {
  t.same(speedsOf(14).fast, { unguidedFrom: 11, temperature: 0.1 })
  t.same(speedsOf(14).turbo?.prune, { from: 11, keep: [0.5, 0.25] })
  t.equal(speedsOf(10).fast?.unguidedFrom, 8)
  t.same(speedsOf(2).turbo, { unguidedFrom: 1, temperature: 0.1, prune: { from: 0, keep: [0.25] } })
  const own = { unguidedFrom: 2, temperature: 0.4 }
  t.same(speedsOf(6, { fast: own }).fast, own)
  t.same(speedsOf(6, { fast: own }).turbo, { ...own, prune: { from: 3, keep: [0.5, 0.25] } })
  const info = { speeds: speedsOf(6, { fast: own }), scales: [1, 2, 3, 4, 6, 8] }
  t.same(withSpeed({ speed: 'fast' }, info), { speed: own })
  t.same(withSpeed({ speed: 'full' }, info), { speed: undefined })
  t.same(withSpeed({}, info), {})
  t.equal(speedOf(undefined, 6), null)
})

t.test('what the model has not is refused', async (t) => {
  await withModels(async ({ transformer, quantizer, text }) => {
    const refused = (speed: unknown, message: RegExp) =>
      t.rejects(
        generate({ transformer, quantizer, text, empty: 3, settings: { cfg: 2, speed: speed as SpeedOptions } }),
        { code: 'ERR_CONFIG', message },
      )
    await refused({ unguidedFrom: 5 }, /speed\.unguidedFrom is 5, expected the index of a scale from 1 to 4/)
    await refused({ unguidedFrom: 0 }, /speed/)
    await refused({ prune: { from: 3, keep: [0.5, 0.25] } }, /from scale 3 .* shares of 2 scales .* 5 scales, 0 to 4/)
    await refused({ prune: { from: 1, keep: [0.5], blocks: [0, 3] } }, /blocks 0 to 3, expected .* 0 to 2/)
    await refused({ prune: { from: 1, keep: [2] } }, /speed/)
    await refused('slow', /"speed" is "slow", expected one of "full"/)
  })
})
