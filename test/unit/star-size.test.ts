/** Pictures of other sizes than the model's square, from the call to the file. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import t from 'tap'
import { Star, type StarImage } from '../../lib/index.js'
import { checkedSize, offeredSizes, refusal } from '../../lib/picture-size.js'
import { tinySide, writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir()
const folder = join(root, 'tiny')
writeTinyModel(folder)
/** The same model, as if it had been trained on two shapes. */
const shaped = join(root, 'shaped')
mkdirSync(shaped)
writeTinyModel(shaped, 'shaped')
const card = join(shaped, 'model.json')
writeFileSync(
  card,
  JSON.stringify({
    ...JSON.parse(readFileSync(card, 'utf8')),
    shapes: [
      [8, 8],
      [12, 6],
    ],
  }),
)

t.test('a call draws the size it asks for, the same in a thread, in any batch, and again from its file', async (t) => {
  const size = { width: 12, height: 6 }
  const notices: [string, string][] = []
  const onNotice = (message: string, about: string): void => void notices.push([about, message])
  await using star = await Star.load(folder, { device: 'cpu', thread: 'main', onNotice })
  const draw = (options: object) => star.generate('a cat', { seed: 3, ...options }).then(({ images }) => images)
  const previews: StarImage[] = []
  const [wide] = await draw({
    size,
    onScale: async ({ preview }: { preview(): Promise<StarImage[]> }) => void previews.push(...(await preview())),
  })
  t.match(wide, { ...size, settings: { size } })
  t.equal(wide.data.length, 12 * 6 * 3)
  t.ok(previews.every((image) => image.width === 12 && image.height === 6))
  t.same(previews.at(-1)!.data, wide.data)
  await using worker = await Star.load(folder, { device: 'cpu' })
  t.same((await worker.generate('a cat', { seed: 3, size })).images[0].data, wide.data)
  // Calls of two sizes at once are drawn apart.
  const [square, tall, again] = await Promise.all([draw({}), draw({ size: { width: 6, height: 12 } }), draw({ size })])
  t.match(square[0], { width: tinySide, height: tinySide })
  t.equal(square[0].settings.size, undefined, 'the square is not written down')
  t.match(tall[0], { width: 6, height: 12 })
  t.same(again[0].data, wide.data)
  t.same((await draw({ size: { width: 8, height: 8 } }))[0].data, square[0].data)

  t.same(
    notices.map(([about]) => about),
    ['size', 'size'],
    'each size is told of once, the square not at all',
  )
  t.match(notices[0][1], /^tiny was trained on 8×8, not on 12×6: the picture may repeat or tear its subject$/)

  const file = join(root, 'wide.png')
  await wide.save(file)
  t.same((await Star.settingsOf(file)).size, size)
  const { model: _, weights: __, dtype: ___, device: ____, prompt, ...settings } = await Star.settingsOf(file)
  t.same((await star.generate(prompt, settings)).images[0].data, wide.data)
})

t.test('a variation and an animation have the size too', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu', thread: 'main' })
  const size = { width: 12, height: 6 }
  const pixels = Uint8Array.from({ length: 40 * 30 * 3 }, (_, i) => (i * 37) % 256)
  const picture = { width: 40, height: 30, data: pixels }
  const [kept] = (await star.vary(picture, { prompt: 'a cat', strength: 0, size })).images
  t.match(kept, { ...size, settings: { size, edited: { by: 'vary' } } })
  // The middle part of that ratio, 40×20, at that size, is what all scales are kept of.
  const middle = await sharp(pixels, { raw: { width: 40, height: 30, channels: 3 } })
    .extract({ left: 0, top: 5, width: 40, height: 20 })
    .resize(12, 6, { kernel: 'lanczos3', fit: 'fill' })
    .raw()
    .toBuffer()
  const same = await star.vary({ width: 12, height: 6, data: middle }, { prompt: 'a cat', strength: 0, size })
  t.same(same.images[0].data, kept.data)
  const { images } = await star.morph('a cat', 'a dog', { frames: 2, size })
  t.ok(images.every((image) => image.width === 12 && image.height === 6))
  await t.rejects(star.edit(picture, { prompt: 'a cat', mask: { x: 0, y: 0, width: 9, height: 9 }, size } as never), {
    code: 'ERR_CONFIG',
    message: /"size": the result has the size of the picture/,
  })
  await t.rejects(star.vary(picture, { prompt: 'a cat', size: { width: 60000, height: 60000 } }), {
    code: 'ERR_ARGUMENT',
    message: /too far from what tiny/,
  })
})

t.test('shapes of the training are drawn without a word, and what is near to them with one', async (t) => {
  const notices: string[] = []
  await using star = await Star.load(shaped, { device: 'cpu', thread: 'main', onNotice: (line) => notices.push(line) })
  const info = star.info()
  t.same(info.shapes, [
    { width: 8, height: 8 },
    { width: 12, height: 6 },
  ])
  for (const size of info.shapes) await star.generate('a cat', { size })
  t.same(notices, [])
  t.match(checkedSize({ width: 6, height: 12 }, info).notice, /trained on 8×8, 12×6, not on 6×12/)
  // 18 is one and a half times 12, from which 8 is too far.
  t.equal(refusal({ width: 18, height: 6 }, info), null)
  t.match(refusal({ width: 20, height: 6 }, info), /too far/)
  t.match(refusal({ width: 12, height: 3 }, info), /multiples of 2 pixels: ask for 12×4/)
  t.same(offeredSizes(info).slice(0, 2), info.shapes)
  t.ok(offeredSizes(info).every((size) => refusal(size, info) === null))
})

t.test('star sample --size draws it, and star again draws it once more', async (t) => {
  const run = promisify(execFile)
  const star = (...args: string[]) => run(process.execPath, ['bin/star.js', ...args], { encoding: 'utf8' })
  const out = join(root, 'cli.png')
  const { stderr } = await star('sample', 'a cat', '--model', folder, '--size', '6x12', '--out', out, '--device', 'cpu')
  t.match(stderr, /note: tiny was trained on 8×8, not on 6×12/)
  const file = await sharp(out).metadata()
  t.match(file, { width: 6, height: 12 })
  await star('again', out, '--model', folder, '--out', join(root, 'again.png'))
  t.same(await sharp(join(root, 'again.png')).raw().toBuffer(), await sharp(out).raw().toBuffer())
  for (const [size, message] of [
    ['wide', /error: --size is "wide", expected WIDTHxHEIGHT in pixels such as 96x64\n$/],
    ['7x8', /error: the size is 7×8, but sides of tiny are multiples of 2 pixels: ask for 8×8\n$/],
    ['64x64', /error: the size is 64×64, too far from what tiny was trained on/],
  ] as const)
    await t.rejects(star('sample', 'a cat', '--model', folder, '--size', size, '--device', 'cpu', '--out', out), {
      code: 2,
      stderr: message,
    })
})
