/** Where a picture attends to words, and drawing that is led to given tokens. */
import t from 'tap'
import { type StarConfigInput, StarTransformer, type TextInput } from '../../../lib/models/star/index.js'
import { Tokenizer } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import { conditionsOf, disposeGiven, tokensOf } from '../../../lib/sampling/given-pictures.js'
import { attentionMaps, type GivenPicture, GraphPool } from '../../../lib/sampling/index.js'
import { Random, scope, setDefaultDevice, Tensor } from '../../../lib/tensor/index.js'
import { useDevice } from '../../support/device.js'
import { signedValues } from '../../support/gradcheck.js'
import { plainAttention, plainNudged } from '../../support/plain-words.js'
import { sample } from '../../support/sampled.js'

const device = useDevice('simt')
const patchNums = [1, 2, 4]
const last = { rows: 4, cols: 4 }
const config = {
  depth: 2,
  width: 16,
  heads: 2,
  patchNums,
  vocabSize: 12,
  latentChannels: 4,
  textWidth: 6,
} satisfies StarConfigInput

function modelsOf(changes: Partial<StarConfigInput> = {}) {
  const transformer = new StarTransformer({ ...config, ...changes }, { init: new Random(7) })
  let salt = 1
  for (const { tensor, trainable } of transformer.namedTensors())
    if (trainable) tensor.write(signedValues(tensor.count, salt++).map((value) => 0.9 * value))
  const tokenizer = new Tokenizer(
    {
      ...{ baseChannels: 32, channelMultipliers: [1, 1], residualBlocks: 1, levelAttention: false },
      ...{ vocabSize: config.vocabSize, latentChannels: config.latentChannels, patchNums },
    },
    { init: new Random(5) },
  )
  return { transformer, tokenizer, quantizer: tokenizer.quantizer }
}

const textOf = (count: number, mask: Uint8Array | null = null): TextInput => ({
  states: Tensor.from(
    Float32Array.from(signedValues(count * 18, 21), (x) => 3 * x),
    [count, 3, 6],
  ),
  pooled: Tensor.from(
    Float32Array.from(signedValues(count * 6, 22), (x) => 3 * x),
    [count, 6],
  ),
  mask: mask && Tensor.from(mask, [count, 3]),
})

const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => (i * 37 + ((i * i) % 91)) % 256)

async function withModels(
  fn: (models: ReturnType<typeof modelsOf> & { text: TextInput; given: number[][] }) => Promise<void>,
  changes: Partial<StarConfigInput> = {},
): Promise<void> {
  const before = native.memory('cpu').liveBytes
  const models = modelsOf(changes)
  const text = textOf(3)
  try {
    const given = scope(() => tokensOf(models.tokenizer, pixels, last).map((ids) => [...ids.ints()]))
    await fn({ ...models, text, given })
  } finally {
    for (const owned of [models.transformer, models.tokenizer, text.states, text.pooled]) owned.dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
}

for (const crossAttention of ['per-sample', 'first-sample'] as const)
  t.test(`attention is that of the plain method, ${crossAttention}`, async (t) => {
    await withModels(
      async ({ transformer, tokenizer, quantizer, text, given }) => {
        const cases = [
          { scales: undefined, blocks: undefined, plain: { scales: [1, 2], blocks: [0, 1] } },
          { scales: [2], blocks: [1], plain: { scales: [2], blocks: [1] } },
          { scales: [0, 2], blocks: [0], plain: { scales: [0, 2], blocks: [0] } },
        ]
        for (const { scales, blocks, plain } of cases) {
          const maps = await attentionMaps({ tokenizer, transformer, text, pixels, scales, blocks })
          t.equal(maps.length, 3)
          for (const [row, map] of maps.entries()) {
            const expected = scope(() =>
              plainAttention({ transformer, quantizer }, { text, row, tokens: given, ...plain }),
            ).flat()
            t.equal(map.length, 16 * 3)
            t.ok(
              map.every((x, i) => Math.abs(x - expected[i]) < 1e-4),
              `prompt ${row}, ${JSON.stringify(plain)}`,
            )
          }
          t.notSame(maps[0], maps[1])
        }
      },
      { crossAttention },
    )
  })

t.test('padding is not attended to, and shares add up to 1', async (t) => {
  await withModels(async ({ transformer, tokenizer }) => {
    const text = textOf(2, Uint8Array.of(1, 1, 0, 1, 1, 1))
    const [short, whole] = await attentionMaps({ tokenizer, transformer, text, pixels })
    const at = (map: Float32Array, position: number): number[] => [...map.subarray(3 * position, 3 * position + 3)]
    for (let i = 0; i < 16; i++) {
      t.equal(at(short, i)[2], 0)
      for (const map of [short, whole]) t.ok(Math.abs(at(map, i).reduce((a, b) => a + b, 0) - 1) < 1e-5)
    }
    for (const tensor of [text.states, text.pooled, text.mask!]) tensor.dispose()
    // Another shape than the square.
    const wide = textOf(1)
    const grid = { rows: 2, cols: 5 }
    const long = Uint8Array.from({ length: 4 * 10 * 3 }, (_, i) => (i * 37) % 256)
    const [map] = await attentionMaps({ tokenizer, transformer, text: wide, pixels: long, grid })
    t.equal(map.length, 10 * 3)
    for (let i = 0; i < 10; i++) t.ok(Math.abs(at(map, i).reduce((a, b) => a + b, 0) - 1) < 1e-5)
    for (const tensor of [wide.states, wide.pooled]) tensor.dispose()
  })
})

t.test('scales and blocks that the model has not are refused, and a model without cross-attention', async (t) => {
  await withModels(async ({ transformer, tokenizer, text }) => {
    const options = { tokenizer, transformer, text, pixels }
    for (const [more, message] of [
      [{ scales: [3] }, /scales are \[3\], expected some of the model's, from 0 to 2/],
      [{ scales: [] }, /scales are \[\]/],
      [{ blocks: [0, 2] }, /blocks are \[0, 2\], expected some of the model's, from 0 to 1/],
    ] as const)
      await t.rejects(attentionMaps({ ...options, ...more }), { code: 'ERR_ARGUMENT', message })
    await t.rejects(attentionMaps({ ...options, pixels: pixels.subarray(3) }), { code: 'ERR_SHAPE' })
    await t.rejects(attentionMaps({ ...options, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
  })
  await withModels(
    async ({ transformer, tokenizer, text }) => {
      await t.rejects(attentionMaps({ tokenizer, transformer, text, pixels }), {
        code: 'ERR_CONFIG',
        message: /without cross-attention/,
      })
    },
    { enableCross: false },
  )
})

/** 1 in the right half of 4×4 positions. */
const right = Float32Array.from({ length: 16 }, (_, i) => (i % 4 >= 2 ? 1 : 0))

t.test('pictures led to given tokens are those of the plain method', async (t) => {
  await withModels(async ({ transformer, tokenizer, quantizer, text, given }) => {
    const seen = new Set<string>()
    for (const [seed, cfg] of [
      [1, 2],
      [2, 0],
      [3, 5],
    ]) {
      const picture: GivenPicture = {
        ...{ pixels, keep: null, keptScales: 1, softEdge: false },
        nudge: { strengths: [6, 2, 0.5], within: { shares: right, outside: 4 } },
      }
      const conditions = conditionsOf(tokenizer, [picture])
      const settings = { cfg, seed, topK: 0, topP: 0 }
      const options = { transformer, quantizer, text, settings, prompts: [1], empty: [2], independent: true }
      const drawn = await sample({ ...options, conditions })
      const strengths = [[5], [4, 2, 4, 2], [...right].map((m) => (m ? 0.5 : 4))]
      const plain = scope(() =>
        plainNudged(
          { transformer, quantizer },
          { text, prompt: 1, away: 2, settings, tokens: given, kept: 1, strengths },
        ),
      )
      t.same(drawn.tokens, plain.tokens, `seed ${seed}, guidance ${cfg}`)
      t.ok(drawn.fHat.every((x, i) => Math.abs(x - plain.fHat[i]) < 1e-4))
      t.notSame(drawn.fHat, (await sample(options)).fHat, 'it makes a difference')
      seen.add(drawn.tokens.join())
      disposeGiven(conditions)
    }
    t.equal(seen.size, 3)
  })
})

t.test('a strong lead gives the given tokens, and none the picture of the prompt', async (t) => {
  await withModels(async ({ transformer, tokenizer, quantizer, text, given }) => {
    const settings = { cfg: 0, topK: 0, topP: 0, seed: 3 }
    const options = { transformer, quantizer, text, settings, prompts: [0, 1], empty: [2, 2], independent: true }
    const led = (strengths: number[]): GivenPicture => ({
      ...{ pixels, keep: null, keptScales: 0, softEdge: false },
      nudge: { strengths },
    })
    const strong = conditionsOf(tokenizer, [led([1e4, 1e4, 1e4]), led([0, 0, 0])])
    const { tokens } = await sample({ ...options, conditions: strong })
    const free = await sample(options)
    tokens.forEach((ids, k) => {
      t.same(ids.slice(0, ids.length / 2), given[k])
      t.same(ids.slice(ids.length / 2), free.tokens[k].slice(ids.length / 2))
    })
    disposeGiven(strong)
  })
})

t.test('recorded scales are led to the same', async (t) => {
  setDefaultDevice(device)
  const before = native.memory(device).liveBlocks
  const { transformer, tokenizer, quantizer } = modelsOf()
  const graphs = new GraphPool()
  for (const seed of [1, 2, 3]) {
    const text = textOf(3)
    const conditions = conditionsOf(tokenizer, [
      {
        ...{ pixels: pixels.map((byte) => byte ^ seed), keep: null, keptScales: 1, softEdge: false },
        nudge: { strengths: [6, seed, 1], within: { shares: right, outside: 5 } },
      },
    ])
    const settings = { cfg: 2, topK: 0, topP: 0, seed }
    const options = { transformer, quantizer, text, conditions, settings, prompts: [0], empty: 2, independent: true }
    const plain = await sample(options)
    t.same(await sample({ ...options, graphs }), plain, `seed ${seed}`)
    disposeGiven(conditions)
    for (const tensor of [text.states, text.pooled]) tensor.dispose()
  }
  graphs.dispose()
  for (const owned of [transformer, tokenizer]) owned.dispose()
  t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
  setDefaultDevice('cpu')
})
