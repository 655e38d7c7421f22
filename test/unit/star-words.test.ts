/** Pictures and words: where a picture shows them, and changing it by other ones. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { attentionDifference, highest, strengthsOf } from '../../lib/editing/words.js'
import { type PixelData, Star, type StarWordEditOptions } from '../../lib/index.js'
import { tinyScales, tinySide, writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir()
const folder = join(root, 'tiny')
writeTinyModel(folder)
const side = tinySide / 2
const given: PixelData = {
  width: tinySide,
  height: tinySide,
  data: Uint8Array.from({ length: tinySide ** 2 * 3 }, (_, i) => (i * 73 + ((i * i) % 101)) % 256),
}
const words = { from: 'a red apple', to: 'a green apple' }

const maps = (text: string, values: number[][]) =>
  text.split(' ').map((word, i) => ({ word, map: Float32Array.from(values[i]) }))

t.test('the difference of two prompts is that of their words, pairs of the same ones and the rest alone', async (t) => {
  const from = maps('a red apple', [
    [0.5, 0.25],
    [0.25, 0.5],
    [0.25, 0.25],
  ])
  const to = maps('A very green apple', [
    [0.25, 0.25],
    [0.125, 0],
    [0.125, 0.25],
    [0.5, 0.5],
  ])
  // |a − A| + red + very + green + |apple − apple|
  t.same([...attentionDifference(from, to)], [0.25 + 0.25 + 0.125 + 0.125 + 0.25, 0 + 0.5 + 0 + 0.25 + 0.25])
  t.same([...attentionDifference(from, from)], [0, 0])
  // The longest sequence of the same words counts: "cat" is paired, "a" of the end is not.
  const [one, two] = [maps('a cat', [[0.5], [0.5]]), maps('cat a', [[0.25], [0.75]])]
  t.same([...attentionDifference(one, two)], [0.5 + 0.25 + 0.75])
})

t.test('what changes is the highest share, and strengths lie between those of ten scales', async (t) => {
  t.same([...highest(Float32Array.of(1, 5, 3, 3, 0), 0.4)], [0, 1, 1, 0, 0], 'the first of equals')
  t.same([...highest(Float32Array.of(1, 2, 3), 1)], [1, 1, 1])
  t.same([...highest(Float32Array.of(1, 2, 3), 0)], [0, 0, 1], 'one position at least')
  t.same(strengthsOf(10), [6, 6, 6, 6, 6, 4, 2, 0, 0, 0])
  t.same(strengthsOf(4), [6, 6, 2, 0])
  t.same(strengthsOf(1), [6])
  // Steps of 9/5: 0, 1.8, 3.6, 5.4, 7.2, 9.
  t.same(
    strengthsOf(6).map((x) => Number(x.toFixed(6))),
    [6, 6, 6, 3.2, 0, 0],
  )
})

t.test('words change a picture, in a thread as in the caller’s', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const { images } = await star.edit(given, { ...words, count: 2, seed: 5, share: 0.5, strength: 1 })
  t.equal(images.length, 2)
  t.match(images[0], { width: tinySide, height: tinySide })
  t.match(images[1].settings, {
    prompt: words.to,
    seed: 6,
    edited: { by: 'edit', from: words.from, share: 0.5, strength: 1 },
  })
  t.match(await Star.settingsOf(await images[0].toBuffer()), { edited: { from: words.from } })
  await using here = await Star.load(folder, { device: 'cpu', thread: 'main' })
  const again = await here.edit(given, { ...words, seed: 6, share: 0.5, strength: 1 })
  t.same(again.images[0].data, images[1].data, 'the same bytes')
  const held = await star.edit(given, { ...words, seed: 5, share: 0.5, strength: 0 })
  const other = await star.edit(given, { ...words, to: 'a blue house', seed: 5, share: 0.5, strength: 1 })
  t.notSame(other.images[0].data, images[0].data, 'the prompt decides')
  t.notSame(held.images[0].data, images[0].data, 'the strength decides')
  // Beside another drawing.
  const both = await Promise.all([
    star.generate('a cat', { seed: 1, count: 3 }),
    star.edit(given, { ...words, seed: 6, share: 0.5, strength: 1 }),
    star.attention('a cat', { image: given }),
  ])
  t.same(both[1].images[0].data, images[1].data)
})

t.test('attention is shown for each word', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const shown = await star.attention('a red  extraordinarily apple', { seed: 3 })
  t.same(
    shown.words.map(({ word }) => word),
    ['a', 'red', 'extraordinarily', 'apple'],
  )
  t.match(shown, { rows: side, cols: side, image: { width: tinySide, height: tinySide } })
  const [drawn] = (await star.generate('a red  extraordinarily apple', { seed: 3 })).images
  t.same(shown.image.data, drawn.data, 'the picture is that of the prompt')
  for (let i = 0; i < side ** 2; i++) {
    const sum = shown.words.reduce((total, { map }) => total + map[i], 0)
    t.ok(sum > 0 && sum < 1, 'words have a part of the attention, the ends of the text the rest')
  }
  const of = await star.attention('a red  extraordinarily apple', { image: drawn })
  t.same(
    of.words.map(({ map }) => [...map]),
    shown.words.map(({ map }) => [...map]),
    'of a given picture too',
  )
  const first = await star.attention('a red  extraordinarily apple', {
    image: drawn,
    blocks: [0],
    scales: [tinyScales - 1],
  })
  t.notSame([...first.words[1].map], [...of.words[1].map])

  const { data } = await shown.heatMap(1)
  t.equal(data.length, tinySide ** 2 * 3)
  const file = join(root, 'words.png')
  await shown.save(file)
  t.match(await sharp(file).metadata(), { format: 'png' })
  await t.rejects(shown.heatMap(4), { code: 'ERR_ARGUMENT', message: /no word 4, expected one of 0 to 3/ })
  await t.rejects(shown.save(join(root, 'words.jpg')), { code: 'ERR_ARGUMENT', message: /end it in \.png/ })
  t.notOk(existsSync(join(root, 'words.jpg')))
})

t.test('what cannot be done is refused in one line', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const refused = (options: object, message: RegExp, code = 'ERR_ARGUMENT') =>
    t.rejects(star.edit(given, options as StarWordEditOptions), { code, message }, message.source)
  await refused({ from: 'a cat' }, /"to" is missing/)
  await refused({ to: 'a cat' }, /"from" is missing/)
  await refused({ from: 'a cat', to: ' A  cat' }, /both "a cat", expected other words/)
  await refused({ from: '', to: 'a cat' }, /empty/)
  await refused({ from: 'a cat:1 and a dog:2', to: 'a cat' }, /has weights/)
  await refused({ ...words, mask: { x: 0, y: 0, width: 1, height: 1 } }, /mask.*words say what changes/, 'ERR_CONFIG')
  await refused({ ...words, prompt: 'a cat' }, /did you mean "to"/, 'ERR_CONFIG')
  await refused({ ...words, share: 2 }, /"share" is 2/, 'ERR_CONFIG')
  await refused({ ...words, strength: -1 }, /"strength" is -1/, 'ERR_CONFIG')
  const look = (prompt: unknown, options: object, message: RegExp, code = 'ERR_ARGUMENT') =>
    t.rejects(star.attention(prompt as string, options), { code, message }, message.source)
  await look('a cat:1 and a dog:2', {}, /has weights/)
  await look('', {}, /empty/)
  await look('a cat', { image: given, scales: [9] }, /scales are \[9\], expected some of the model's, from 0 to 2/)
  await look('a cat', { image: given, blocks: [] }, /"blocks"/, 'ERR_CONFIG')
  await look('a cat', { count: 2 }, /count/, 'ERR_CONFIG')
  await look('a cat', { image: 'missing.png' }, /missing\.png/, 'ERR_FILE')
  await star.dispose()
  await t.rejects(star.attention('a cat'), { code: 'ERR_ARGUMENT', message: /was disposed/ })
})
