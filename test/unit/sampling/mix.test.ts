/** Several texts of one picture, and texts that pictures are guided away from. */
import t from 'tap'
import { SamplerHead, type TextInput } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import { mixed } from '../../../lib/sampling/guidance.js'
import {
  drawPictures,
  type GenerateOptions,
  GraphPool,
  generate,
  type PictureRequest,
  type ScaleEvent,
} from '../../../lib/sampling/index.js'
import { canCapture, Random, scope, setDefaultDevice, Tensor } from '../../../lib/tensor/index.js'
import { useDevice } from '../../support/device.js'
import { signedValues } from '../../support/gradcheck.js'
import { plainGeneration } from '../../support/plain-sampling.js'
import { tinyParts } from '../../support/tiny-model.js'

const device = useDevice('simt')
const settings = { cfg: 3, topK: 0, topP: 0, seed: 5 }

/** Large enough that pictures of different texts have few tokens in common. */
const strong = (count: number, salt: number): Float32Array => Float32Array.from(signedValues(count, salt), (x) => 4 * x)

const texts = (count: number): TextInput => ({
  states: Tensor.from(strong(count * 3 * 384, 21), [count, 3, 384]),
  pooled: Tensor.from(strong(count * 384, 22), [count, 384]),
  mask: null,
})

/** Models whose logits depend much on the text: every parameter of the transformer is random, its head too. */
function modelsOf(): ReturnType<typeof tinyParts> {
  const models = tinyParts()
  let salt = 1
  for (const { tensor, trainable } of models.transformer.namedTensors())
    if (trainable) tensor.write(signedValues(tensor.count, salt++).map((value) => 0.6 * value))
  return models
}

async function withModels(fn: (models: ReturnType<typeof tinyParts> & { text: TextInput }) => Promise<void>) {
  const before = native.memory('cpu').liveBytes
  const models = modelsOf()
  const text = texts(4)
  try {
    await fn({ ...models, text })
  } finally {
    for (const owned of [models.tokenizer, models.transformer, text.states, text.pooled]) owned.dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
}

async function tokensOf(options: GenerateOptions): Promise<{ tokens: number[][]; fHat: Float32Array }> {
  const tokens: number[][] = []
  const onScale = (event: ScaleEvent): void => void tokens.push([...event.tokens!.ints()])
  using fHat = await generate({ ...options, onScale })
  return { tokens, fHat: fHat.floats() }
}

t.test('logits of several texts are added by their shares', async (t) => {
  scope(() => {
    // Two images of two texts each, one position, three tokens.
    const logits = Tensor.from([1, 2, 3, 10, 20, 30, 5, 5, 5, -1, -2, -3], [4, 1, 3])
    const mix = { parts: 2, weights: Tensor.from([0.25, 1, 0.75, 0], [4, 1, 1]) }
    t.same([...mixed(logits, mix).floats()], [4, 4.25, 4.5, 10, 20, 30])
    t.equal(mixed(logits, null), logits)
  })
})

t.test('a picture of several texts, and one guided away from a text, are those of the plain method', async (t) => {
  await withModels(async (models) => {
    const { tokenizer, transformer, text } = models
    const options = { transformer, quantizer: tokenizer.quantizer, text, settings }
    const seen = new Set<string>()
    for (const [weights, away] of [
      [[1.2, 0.8], 3],
      [[1, 9], 3],
      [[1, 3, 4], 3],
      [[1], 2],
    ] as const) {
      const sum = weights.reduce((a, b) => a + b, 0)
      const prompt = weights.map((weight, row) => ({ row, weight }))
      const parts = weights.map((weight, row) => ({ row, share: weight / sum }))
      const expected = scope(() => plainGeneration(models, { text, texts: parts, away, settings }))
      const drawn = await tokensOf({ ...options, prompts: [prompt], empty: [away] })
      t.same(drawn.tokens, expected.tokens, `weights ${weights.join(', ')}, away from ${away}`)
      t.ok(drawn.fHat.every((x, i) => Math.abs(x - expected.fHat[i]) < 1e-4))
      seen.add(drawn.tokens.flat().join())
    }
    t.equal(seen.size, 4, 'weights matter')
  })
})

t.test('a weight of 0 is no text, and pictures of other weights do not change each other', async (t) => {
  await withModels(async ({ tokenizer, transformer, text }) => {
    const draw = (...pictures: Omit<PictureRequest, 'seed'>[]) =>
      drawPictures({
        ...{ tokenizer, transformer, text, empty: 3, settings },
        pictures: pictures.map((picture) => ({ ...picture, seed: 8 })),
      })
    const of = (first: number, second: number) => ({
      prompt: [
        { row: 0, weight: first },
        { row: 1, weight: second },
      ],
    })
    const near = (a: Uint8Array, b: Uint8Array) => a.every((value, i) => Math.abs(value - b[i]) <= 1)
    const [alone] = await draw({ prompt: 0 })
    t.ok(near((await draw(of(2, 0)))[0], alone))
    const together = await draw(of(1, 3), of(3, 1), of(0, 1))
    for (const [i, own] of [of(1, 3), of(3, 1), of(0, 1)].entries()) t.ok(near((await draw(own))[0], together[i]))
    t.notOk(near(together[0], together[1]))
    t.notSame((await draw({ prompt: 0, negative: 2 }))[0], alone)
    t.same((await draw({ prompt: 0, negative: 3 }))[0], alone)
    await t.rejects(draw(of(1, 1), { prompt: 0 }), { code: 'ERR_ARGUMENT', message: /2 and 1 texts/ })
    for (const [first, second] of [
      [0, 0],
      [-1, 2],
      [Number.NaN, 1],
      [Number.POSITIVE_INFINITY, 1],
    ])
      await t.rejects(draw(of(first, second)), { code: 'ERR_ARGUMENT', message: /the weights of image 0/ })
  })
})

t.test('recordings take other weights each time', async (t) => {
  setDefaultDevice(device)
  t.ok(canCapture(device))
  const before = native.memory(device).liveBlocks
  {
    const { tokenizer, transformer } = modelsOf()
    const samplerHead = new SamplerHead(transformer.config, { init: new Random(8) })
    const graphs = new GraphPool()
    const text = texts(3)
    for (const stableFrom of [9, 1]) {
      for (const [seed, weight] of [0.2, 0.5, 1, 4].entries()) {
        const prompts = [0, 1].map((row) => [
          { row, weight: 1 },
          { row: 1 - row, weight },
        ])
        const options = {
          ...{ transformer, quantizer: tokenizer.quantizer, samplerHead, text, empty: 2, prompts },
          settings: { ...settings, seed, stableFrom },
        }
        const plain = await tokensOf(options)
        t.same(await tokensOf({ ...options, graphs }), plain, `weight ${weight}, steps from ${stableFrom}`)
      }
      const single = {
        transformer,
        quantizer: tokenizer.quantizer,
        samplerHead,
        text,
        empty: 2,
        settings,
        prompts: [0, 1],
      }
      t.same(await tokensOf({ ...single, graphs }), await tokensOf(single))
    }
    graphs.dispose()
    for (const owned of [tokenizer, transformer, samplerHead, text.states, text.pooled]) owned.dispose()
  }
  t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
})
