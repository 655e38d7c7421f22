/** Prompts with weights, negative prompts and morphing, through a whole model. */
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { Star, type StarGenerateOptions } from '../../lib/index.js'
import type { Prompt } from '../../lib/prompts.js'

// Its pictures depend on the text, which those of random weights hardly do.
const model = 'emoji-64'
const box = { x: 32, y: 0, width: 32, height: 64 }
const near = (a: Uint8Array, b: Uint8Array) => a.every((value, i) => Math.abs(value - b[i]) <= 1)

t.test('weights and negative prompts change pictures, in any form and batch', async (t) => {
  await using star = await Star.load(model, { device: 'cpu' })
  const draw = async (prompt: Prompt, options: StarGenerateOptions = {}) =>
    (await star.generate(prompt, { seed: 3, cfg: 3, ...options })).images[0]
  const list = [
    { prompt: 'a red apple', weight: 1.2 },
    { prompt: 'a dog', weight: 0.8 },
  ]
  const both = await draw('a red apple:1.2 and a dog:0.8')
  t.same((await draw(list)).data, both.data)
  t.equal(both.settings.prompt, 'a red apple:1.2 and a dog:0.8')
  t.equal((await draw(list)).settings.prompt, both.settings.prompt)
  const apple = await draw('a red apple')
  t.notOk(near(apple.data, both.data))
  t.ok(near((await draw('a red apple:1 and a dog:0')).data, apple.data))
  const away = await draw('a red apple', { negativePrompt: 'a leaf' })
  t.notOk(near(away.data, apple.data))
  t.equal(away.settings.negativePrompt, 'a leaf')
  t.notOk('negativePrompt' in apple.settings)
  // Calls of one and of several prompts, with and without a negative one, at the same time.
  const together = await Promise.all([
    draw('a red apple'),
    draw(list),
    draw('a red apple', { negativePrompt: 'a leaf' }),
    draw('a red apple:1 and a dog:0'),
  ])
  for (const [i, alone] of [apple, both, away, apple].entries()) t.ok(near(together[i].data, alone.data), `call ${i}`)
  const settings = await Star.settingsOf(await away.toBuffer())
  const { prompt, model: _, weights: __, dtype: ___, device: ____, ...again } = settings
  t.same((await star.generate(prompt, again)).images[0].data, away.data, 'a file says how to draw it again')
  const [edited] = (await star.edit(apple, { prompt: list, negativePrompt: 'a leaf', mask: box })).images
  t.match(edited.settings, { prompt: both.settings.prompt, negativePrompt: 'a leaf' })
})

t.test('a morph leads from one prompt to another', async (t) => {
  await using star = await Star.load(model, { device: 'cpu' })
  const film = await star.morph('a red apple', 'a dog', { frames: 5, seed: 3, cfg: 2 })
  t.equal(film.images.length, 5)
  const [first] = (await star.generate(['a red apple', 'a cat:1 and a dog:2'], { seed: 3, cfg: 2 })).images
  t.ok(near(first.data, film.images[0].data), 'one prompt beside two')
  const of = async (prompt: string) => (await star.generate(prompt, { seed: 3, cfg: 2 })).images[0].data
  t.ok(near(film.images[0].data, await of('a red apple')))
  t.ok(near(film.images[4].data, await of('a dog')))
  t.ok(near(film.images[1].data, await of('a red apple:0.75 and a dog:0.25')))
  t.same(
    film.images.map(({ settings }) => settings.seed),
    Array(5).fill(3),
  )
  t.equal(film.images[1].settings.prompt, 'a red apple:0.75 and a dog:0.25')
  const folder = t.testdir()
  for (const format of ['gif', 'webp'] as const) {
    const path = join(folder, `film.${format}`)
    await film.save(path, { delay: 70 })
    const facts = await sharp(path, { pages: -1 }).metadata()
    t.match(facts, { format, width: 64, pages: 5, pageHeight: 64, delay: Array(5).fill(70), loop: 0 })
    const frames = await sharp(path, { pages: -1 }).removeAlpha().raw().toBuffer()
    // WebP of quality 95 and 256 colours are close to the pictures.
    const given = Buffer.concat(film.images.map(({ data }) => data))
    const error = given.reduce((sum, value, i) => sum + Math.abs(value - frames[i]), 0) / given.length
    t.ok(error < 6, `${format} differs by ${error}`)
  }
  await t.rejects(Star.settingsOf(join(folder, 'film.webp')), { code: 'ERR_ARGUMENT', message: /an animation of 5/ })
  await t.rejects(film.save(join(folder, 'film.png')), { code: 'ERR_ARGUMENT', message: /end it in \.gif or \.webp/ })
  await t.rejects(film.toBuffer('gif', { delay: 0 }), { code: 'ERR_ARGUMENT', message: /delay is 0/ })
  await t.rejects(star.morph('a', 'b', { frames: 1 }), { code: 'ERR_CONFIG', message: /"frames" is 1/ })
  await t.rejects(star.morph('a', ''), { code: 'ERR_ARGUMENT', message: /the prompt is empty/ })
  await t.rejects(star.morph('a', 'b', { count: 2 } as object), {
    code: 'ERR_CONFIG',
    message: /did you mean "frames"/,
  })
})
