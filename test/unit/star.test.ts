import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readPngText } from '../../lib/data/index.js'
import { imageGrid, Star, StarImage, type StarScaleEvent } from '../../lib/index.js'
import { native } from '../../lib/native/index.js'
import { tinyScales, tinySide, writeTinyModel } from '../support/tiny-model.js'

const folder = join(t.testdir(), 'tiny')
writeTinyModel(folder)

t.test('pictures have the size of the model and carry prompt and settings', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  t.match(star.info(), {
    name: 'tiny',
    device: 'cpu',
    imageSize: tinySide,
    crossAttention: 'per-sample',
    textEncoder: 'minilm-l6',
  })
  const { images } = await star.generate(['a cat', 'ein Äpfelchen'], { count: 2, seed: 7, topK: 5 })
  t.match(
    images.map((image) => image.settings),
    [
      { prompt: 'a cat', seed: 7, cfg: 2, topK: 5, topP: 0.9, moreSmooth: false, model: 'tiny' },
      { prompt: 'a cat', seed: 8 },
      { prompt: 'ein Äpfelchen', seed: 7 },
      { prompt: 'ein Äpfelchen', seed: 8 },
    ],
  )
  for (const image of images) {
    t.match(image, { width: tinySide, height: tinySide })
    t.equal(image.data.length, tinySide * tinySide * 3)
  }
  const text = readPngText(await images[2].toBuffer())
  t.equal(text.Description, 'ein Äpfelchen')
  t.same(JSON.parse(text['star-t2i']), images[2].settings)
})

t.test('the same seed draws the same picture, whatever else is in the batch', async (t) => {
  await using star = await Star.load(folder)
  const draw = async (prompts: string | string[], options = {}) =>
    (await star.generate(prompts, { seed: 3, ...options })).images.map((image) => image.data)
  const alone = await draw('a cat')
  t.same(await draw('a cat'), alone)
  const together = await draw(['a cat', 'a long description of a dog on a green meadow'], { count: 3 })
  const cut = await draw(['a cat', 'a long description of a dog on a green meadow'], { count: 3, batchSize: 2 })
  const near = (a: Uint8Array, b: Uint8Array) => a.every((value, i) => Math.abs(value - b[i]) <= 1)
  t.ok(near(together[0], alone[0]))
  t.ok(together.every((picture, i) => near(picture, cut[i])))
  t.notSame(together[0], together[1], 'the next seed draws another picture')
  t.ok(near(together[1], (await draw('a cat', { seed: 4 }))[0]), 'which is that of its own seed')
})

t.test('every scale is reported, with a preview; the last is the picture', async (t) => {
  await using star = await Star.load(folder)
  const events: Omit<StarScaleEvent, 'preview'>[] = []
  let last: StarImage[] = []
  const onScale = async ({ preview, ...event }: StarScaleEvent): Promise<void> => {
    events.push(event)
    last = await preview()
  }
  const { images } = await star.generate(['a', 'b', 'c'], { batchSize: 2, onScale })
  t.same(
    events.map(({ scaleIndex }) => scaleIndex),
    [0, 1, 2, 0, 1, 2],
  )
  t.same(
    events.map((event) => event.images),
    [[0, 1], [0, 1], [0, 1], [2], [2], [2]],
  )
  t.ok(events.every((event) => event.scales === tinyScales && event.total === 3))
  t.same(last[0].data, images[2].data)
})

t.test('an abort ends the call after the current scale', async (t) => {
  await using star = await Star.load(folder)
  const controller = new AbortController()
  const seen: number[] = []
  const onScale = ({ scaleIndex }: StarScaleEvent): void => {
    seen.push(scaleIndex)
    controller.abort()
  }
  await t.rejects(star.generate('a', { signal: controller.signal, onScale }), { code: 'ERR_ABORTED' })
  t.same(seen, [0])
  t.equal((await star.generate('a')).images.length, 1, 'the model can be used again')
})

t.test('a generation leaves no bytes behind, however it ends', async (t) => {
  const bare = native.memory('cpu').liveBytes
  const star = await Star.load(folder)
  await star.generate('a', { moreSmooth: true })
  const loaded = native.memory('cpu').liveBytes
  await star.generate(['a', 'b'], { count: 2, onScale: async ({ preview }) => void (await preview()) })
  t.equal(native.memory('cpu').liveBytes, loaded)
  const fail = () => {
    throw new Error('no')
  }
  await t.rejects(star.generate('a', { onScale: fail }), /no/)
  await star.generate('a')
  t.equal(native.memory('cpu').liveBytes, loaded)
  for await (const _ of star.stream('a', { count: 4, batchSize: 2 })) break
  await star.generate('a')
  t.equal(native.memory('cpu').liveBytes, loaded)
  await star.dispose()
  await star.dispose()
  t.equal(native.memory('cpu').liveBytes, bare)
  t.equal(native.memory('cpu').cachedBytes, 0, "what was kept for later generations is the system's again")
})

t.test('mistakes are refused by name', async (t) => {
  await using star = await Star.load(folder)
  await t.rejects(star.generate(''), { code: 'ERR_ARGUMENT', message: /the prompt is empty/ })
  await t.rejects(star.generate([]), { code: 'ERR_ARGUMENT', message: /no prompt was given/ })
  await t.rejects(star.generate('x'.repeat(1 << 20)), { code: 'ERR_ARGUMENT', message: /1048576 characters/ })
  await t.rejects(star.generate('a', { count: 0 }), { code: 'ERR_CONFIG', message: /"count" is 0/ })
  await t.rejects(star.generate('a', { topP: 2 }), { code: 'ERR_CONFIG', message: /"topP" is 2/ })
  const misspelt = { tokP: 1 } as object
  await t.rejects(star.generate('a', misspelt), {
    code: 'ERR_CONFIG',
    message: /unknown key "tokP": did you mean "top/,
  })
  await star.dispose()
  await t.rejects(star.generate('a'), { code: 'ERR_ARGUMENT', message: /disposed/ })
  await t.rejects(Star.load('nothing'), { code: 'ERR_FILE' })
  await t.rejects(Star.load(folder, { device: 'abacus' }), { code: 'ERR_DEVICE', message: /choose one of auto, cpu/ })
  const before = native.memory('cpu').liveBytes
  rmSync(join(folder, 'transformer.safetensors'))
  await t.rejects(Star.load(folder), { code: 'ERR_FILE', message: /transformer\.safetensors/ })
  t.equal(native.memory('cpu').liveBytes, before, 'a failed load frees what it had')
})

t.test('a grid lays pictures out row by row', async (t) => {
  const settings = {
    prompt: 'a',
    model: 'm',
    seed: 1,
    cfg: 1,
    topK: 0,
    topP: 0,
    moreSmooth: false,
    version: '1024' as const,
    stableFrom: 9,
    weights: 'ab',
    dtype: 'f32' as const,
    device: 'cpu',
  }
  const image = (value: number) => new StarImage(2, 1, new Uint8Array(6).fill(value), settings)
  const grid = imageGrid([image(1), image(2), image(3)], { columns: 2, gap: 1 })
  t.match(grid, { width: 7, height: 5 })
  const red = Array.from({ length: 5 }, (_, y) => Array.from({ length: 7 }, (_, x) => grid.data[(y * 7 + x) * 3]))
  t.same(red, [
    [255, 255, 255, 255, 255, 255, 255],
    [255, 1, 1, 255, 2, 2, 255],
    [255, 255, 255, 255, 255, 255, 255],
    [255, 3, 3, 255, 255, 255, 255],
    [255, 255, 255, 255, 255, 255, 255],
  ])
  t.equal(JSON.parse(readPngText(await grid.toBuffer())['star-t2i']).length, 3)
  t.throws(() => imageGrid([]), { code: 'ERR_ARGUMENT' })
  t.throws(() => imageGrid([image(1), new StarImage(1, 1, new Uint8Array(3), settings)]), { code: 'ERR_ARGUMENT' })
})
