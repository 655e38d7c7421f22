/** Pictures that are no squares: scales, positions and resampling against their formulas in plain numbers. */
import t from 'tap'
import { gridsOf } from '../../../lib/models/grid.js'
import { levels, SamplerHead, StarTransformer, type TextInput, tokenCount } from '../../../lib/models/star/index.js'
import { native } from '../../../lib/native/index.js'
import {
  drawPictures,
  type GenerateOptions,
  GraphPool,
  generate,
  type ScaleEvent,
} from '../../../lib/sampling/index.js'
import { canCapture, Random, scope, setDefaultDevice, Tensor } from '../../../lib/tensor/index.js'
import { useDevice } from '../../support/device.js'
import { gradcheck, signedValues } from '../../support/gradcheck.js'
import { plainQuantize, plainScales, plainShape } from '../../support/plain-shapes.js'
import { tinyParts } from '../../support/tiny-model.js'
import { tinyModel, tinySizes, tinyText } from '../../support/tiny-star.js'

const device = useDevice('simt')
const settings = { cfg: 3, topK: 0, topP: 0, seed: 5 }
const shapes = [
  [4, 6],
  [6, 3],
  [3, 4],
  [2, 6],
] as const

const strong = (count: number, salt: number): Float32Array => Float32Array.from(signedValues(count, salt), (x) => 4 * x)

const texts = (count: number): TextInput => ({
  states: Tensor.from(strong(count * 3 * 384, 21), [count, 3, 384]),
  pooled: Tensor.from(strong(count * 384, 22), [count, 384]),
  mask: null,
})

/** Every parameter of the transformer is random, so that positions and scales matter. */
function modelsOf(changes: { rope?: boolean } = {}): ReturnType<typeof tinyParts> {
  const models = tinyParts(changes)
  let salt = 1
  for (const { tensor, trainable } of models.transformer.namedTensors())
    if (trainable) tensor.write(signedValues(tensor.count, salt++).map((value) => 0.6 * value))
  return models
}

async function tokensOf(options: GenerateOptions): Promise<{ tokens: number[][]; fHat: Float32Array }> {
  const tokens: number[][] = []
  const onScale = (event: ScaleEvent): void => void tokens.push([...event.tokens!.ints()])
  using fHat = await generate({ ...options, onScale })
  return { tokens, fHat: fHat.floats() }
}

t.test('scales of a shape keep its ratio, and those of the square are as they were', async (t) => {
  const published = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
  const list = (last: { rows: number; cols: number }) =>
    gridsOf(published, last).map(({ rows, cols }) => `${rows}×${cols}`)
  t.same(
    list({ rows: 12, cols: 20 }),
    ['1×1', '2×3', '2×4', '3×5', '4×6', '5×8', '6×10', '8×13', '10×16', '12×20'],
    '320×192 pixels: 192 of 256 in height, 320 of 256 in width',
  )
  t.same(
    gridsOf(published),
    published.map((p) => ({ rows: p, cols: p })),
  )
  for (const rows of [8, 11, 16, 21, 24])
    for (const cols of [9, 16, 23])
      t.same(
        gridsOf(published, { rows, cols }).map((grid) => [grid.rows, grid.cols]),
        plainScales(published, [rows, cols]),
      )
  t.equal(tokenCount(published), 680)
  t.equal(tokenCount(published, { rows: 12, cols: 20 }), levels(published, { rows: 12, cols: 20 }).at(-1)!.end)
  t.same(gridsOf([4], { rows: 2, cols: 8 }), [{ rows: 2, cols: 8 }], 'a single scale is the latent')
})

for (const rope of [true, false])
  t.test(`pictures of a shape are those of the plain method, ${rope ? 'rotated' : 'learnt'} positions`, async (t) => {
    const before = native.memory('cpu').liveBytes
    const models = modelsOf({ rope })
    const text = texts(2)
    for (const [rows, cols] of shapes) {
      const expected = scope(() => plainShape(models, { text, size: [rows, cols], settings }))
      const { tokenizer, transformer } = models
      const options = { transformer, quantizer: tokenizer.quantizer, text, empty: 1, settings }
      const drawn = await tokensOf({ ...options, grid: { rows, cols } })
      t.same(drawn.tokens, expected.tokens, `${rows}×${cols}`)
      t.ok(drawn.fHat.every((x, i) => Math.abs(x - expected.fHat[i]) < 1e-4))
      t.equal(drawn.fHat.length, rows * cols * 8)
    }
    for (const owned of [models.tokenizer, models.transformer, text.states, text.pooled]) owned.dispose()
    t.equal(native.memory('cpu').liveBytes, before, 'nothing is left behind')
  })

t.test(
  'a latent of a shape has the tokens of the plain method, and they give back what it was quantized to',
  async (t) => {
    const { tokenizer, transformer } = tinyParts()
    scope(() => {
      for (const [rows, cols] of shapes) {
        const latent = Tensor.from(strong(rows * cols * 8, rows), [1, rows, cols, 8])
        const { indices, fHat } = tokenizer.quantizer.quantize(latent)
        t.same(
          indices.map((ids) => [...ids.ints()]),
          plainQuantize(tokenizer, [...latent.floats()], [rows, cols]),
        )
        const again = tokenizer.quantizer.fHatOf(indices, { rows, cols })
        t.same(again.at(-1)!.floats(), fHat.at(-1)!.floats())
        const input = tokenizer.quantizer.transformerInput(latent)
        t.same(input.floats(), tokenizer.quantizer.transformerInput(indices, { rows, cols }).floats())
        t.equal(input.dim(1), tokenCount(tokenizer.config.patchNums, { rows, cols }) - 1)
        t.same(tokenizer.decode(fHat.at(-1)!).shape, [1, 2 * rows, 2 * cols, 3])
      }
      t.throws(() => tokenizer.encode(Tensor.from(strong(7 * 8 * 3, 1), [1, 7, 8, 3])), {
        code: 'ERR_SHAPE',
        message: /multiples of 2/,
      })
    })
    tokenizer.dispose()
    transformer.dispose()
  },
)

t.test('gradients of learnt positions go through the interpolation', async (t) => {
  using model = tinyModel({ rope: false })
  const grid = { rows: 2, cols: 5 }
  const length = tokenCount(tinySizes.patchNums, grid)
  const text = tinyText(1)
  const input = Tensor.from(signedValues((length - 1) * 3, 3), [1, length - 1, 3])
  const positions = model.positions!
  t.ok(gradcheck(() => model.forward({ input, text, grid }), [positions], { step: 1e-2 }) < 2e-3)
  for (const tensor of [input, ...Object.values(text)]) (tensor as Tensor).dispose()
})

t.test('recordings of shapes are those of single ops, the square between them too', async (t) => {
  setDefaultDevice(device)
  t.ok(canCapture(device))
  const before = native.memory(device).liveBlocks
  {
    const { tokenizer, transformer } = modelsOf()
    const samplerHead = new SamplerHead(transformer.config, { init: new Random(8) })
    const graphs = new GraphPool()
    const text = texts(2)
    const grids = [{ rows: 4, cols: 6 }, undefined, { rows: 3, cols: 4 }]
    for (const stableFrom of [9, 1])
      for (const round of [0, 1, 2])
        for (const grid of grids) {
          const own = { ...settings, seed: round, stableFrom }
          const models = { transformer, quantizer: tokenizer.quantizer, samplerHead, text, empty: 1, grid }
          const plain = await tokensOf({ ...models, settings: own })
          t.same(
            await tokensOf({ ...models, settings: own, graphs }),
            plain,
            JSON.stringify({ grid, stableFrom, round }),
          )
        }
    graphs.dispose()
    for (const owned of [tokenizer, transformer, samplerHead, text.states, text.pooled]) owned.dispose()
  }
  t.equal(native.memory(device).liveBlocks, before, 'all memory is given back')
})

t.test('pictures have the size that is asked for, and do not depend on what else is drawn', async (t) => {
  setDefaultDevice('cpu')
  const { tokenizer, transformer } = modelsOf()
  const text = texts(2)
  const draw = (seeds: number[], size?: { width: number; height: number }) =>
    drawPictures({
      ...{ tokenizer, transformer, text, empty: 1, settings, size },
      pictures: seeds.map((seed) => ({ prompt: 0, seed })),
    })
  const [first, second] = await draw([1, 2], { width: 12, height: 6 })
  t.equal(first.length, 12 * 6 * 3)
  t.same((await draw([2], { width: 12, height: 6 }))[0], second)
  t.notSame(first, second)
  t.same((await draw([1], { width: 8, height: 8 }))[0], (await draw([1]))[0], 'the square by its size is the square')
  // A picture of its own tokens: all scales kept give what the tokenizer makes of it.
  const pixels = Uint8Array.from(signedValues(12 * 6 * 3, 4), (x) => Math.round(127 * (x + 1)))
  const given = { pixels, keep: null, keptScales: 3, softEdge: false }
  const options = { tokenizer, transformer, text, empty: 1, settings }
  const [kept] = await drawPictures({
    ...options,
    size: { width: 12, height: 6 },
    pictures: [{ prompt: 0, seed: 1, given }],
  })
  const images = Tensor.from(
    Float32Array.from(pixels, (byte) => byte / 127.5 - 1),
    [1, 6, 12, 3],
  )
  const back = tokenizer.reconstruct(images)
  t.same(
    kept,
    Uint8Array.from(back.floats(), (x) => Math.round(127.5 * (x + 1))),
  )
  for (const owned of [tokenizer, transformer, text.states, text.pooled, images, back]) owned.dispose()
})

t.test('tables of shapes used long ago are made again', async (t) => {
  using model = new StarTransformer({ ...tinySizes }, { init: new Random(1) })
  const before = native.memory('cpu').liveBlocks
  for (let cols = 4; cols < 40; cols++) model.levelsOf({ rows: 2, cols })
  const kept = native.memory('cpu').liveBlocks - before
  for (let cols = 4; cols < 40; cols++) model.levelsOf({ rows: 2, cols })
  t.equal(native.memory('cpu').liveBlocks - before, kept, 'and their number has a bound')
})
