import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { type PixelData, Star, type StarEditOptions, type StarImage, type StarScaleEvent } from '../../lib/index.js'
import { tinyScales, tinySide, writeTinyModel } from '../support/tiny-model.js'

const folder = join(t.testdir(), 'tiny')
writeTinyModel(folder)
const prompt = 'a cat'
const box = { x: 4, y: 0, width: 3, height: tinySide }

/** A picture of bytes that look random. */
const picture = (width = tinySide, height = tinySide, salt = 1): PixelData => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 73 * salt + ((i * i) % 101)) % 256),
})

/** The picture with other bytes where `where` says so. */
function repainted({ width, height, data }: PixelData, where: (x: number, y: number) => boolean): PixelData {
  const changed = data.map((byte, i) => {
    const pixel = Math.floor(i / 3)
    return where(pixel % width, Math.floor(pixel / width)) ? 255 - byte : byte
  })
  return { width, height, data: changed }
}

const inBox = (x: number): boolean => x >= box.x && x < box.x + box.width

function differences(a: PixelData, b: PixelData, where: (x: number, y: number) => boolean): number {
  let count = 0
  for (let i = 0; i < a.width * a.height; i++) {
    if (!where(i % a.width, Math.floor(i / a.width))) continue
    if ([0, 1, 2].some((c) => a.data[3 * i + c] !== b.data[3 * i + c])) count++
  }
  return count
}

const one = async (result: Promise<{ images: StarImage[] }>): Promise<StarImage> => (await result).images[0]

t.test('pixels outside of the feathered mask keep their bytes, those inside are drawn', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const given = picture()
  for (const feather of [0, 1, undefined]) {
    const reach = feather ?? 2
    const image = await one(star.edit(given, { prompt, mask: box, feather }))
    t.match(image, { width: tinySide, height: tinySide })
    t.equal(
      differences(image, given, (x) => x < box.x - reach || x >= box.x + box.width + reach),
      0,
      `feather ${reach}`,
    )
    t.ok(differences(image, given, inBox) > 20, 'the part is drawn')
    if (reach > 0) t.ok(differences(image, given, (x) => !inBox(x)) > 0, 'the edge is blended')
  }
  const { images } = await star.edit(given, { prompt, mask: box, count: 3, seed: 5 })
  t.same(images[1].data, (await one(star.edit(given, { prompt, mask: box, seed: 6 }))).data)
  t.notSame(images[0].data, images[1].data)
  t.match(images[1].settings, { prompt, seed: 6, model: 'tiny', edited: { by: 'edit', strength: 1, softEdge: false } })
  t.match(await Star.settingsOf(await images[1].toBuffer('webp')), { edited: { by: 'edit' } })
})

t.test('what is inside the mask has no influence', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const given = picture()
  const other = repainted(given, inBox)
  for (const softEdge of [false, true]) {
    const options = { prompt, mask: box, softEdge }
    t.same((await one(star.edit(other, options))).data, (await one(star.edit(given, options))).data, `soft ${softEdge}`)
  }
  const large = picture(20, 12)
  const mask = { x: 9, y: 3, width: 5, height: 6 }
  const within = (x: number, y: number): boolean => x >= 9 && x < 14 && y >= 3 && y < 9
  const drawn = await one(star.edit(large, { prompt, mask }))
  t.same((await one(star.edit(repainted(large, within), { prompt, mask }))).data, drawn.data, 'at another size')
  t.notSame(
    (
      await one(
        star.edit(
          repainted(given, (x) => x === 0),
          { prompt, mask: box },
        ),
      )
    ).data,
    (await one(star.edit(given, { prompt, mask: box }))).data,
    'what is outside has',
  )
  const kept = { prompt, mask: box, strength: 0.3 }
  t.notSame((await one(star.edit(other, kept))).data, (await one(star.edit(given, kept))).data, 'kept scales have')
})

t.test('pictures of other sizes keep theirs, and grow', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const wide = picture(20, 12)
  const mask = { x: 9, y: 3, width: 5, height: 6 }
  const image = await one(star.edit(wide, { prompt, mask, feather: 1 }))
  t.match(image, { width: 20, height: 12 })
  const outside = (x: number, y: number): boolean => x < 8 || x >= 15 || y < 2 || y >= 10
  t.equal(differences(image, wide, outside), 0)
  t.ok(differences(image, wide, (x, y) => x >= 9 && x < 14 && y >= 3 && y < 9) > 20)

  const grown = await one(star.edit(wide, { prompt, extend: { left: 3, bottom: 2 }, feather: 0 }))
  t.match(grown, { width: 23, height: 14 })
  let moved = 0
  for (let y = 0; y < 12; y++)
    for (let x = 0; x < 20; x++)
      for (let c = 0; c < 3; c++) if (grown.data[(y * 23 + x + 3) * 3 + c] !== wide.data[(y * 20 + x) * 3 + c]) moved++
  t.equal(moved, 0, 'the picture lies in it unchanged')
  t.match(await one(star.edit(wide, { prompt, extend: { left: 30, right: 30 } })), { width: 80, height: 12 })
})

t.test('masks of all kinds, and the transparent part of a picture, say the same', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const given = picture()
  const draw = async (image: PixelData | Uint8Array, options: Partial<StarEditOptions>) =>
    (await one(star.edit(image, { prompt, ...options }))).data
  const expected = await draw(given, { mask: box })
  const area = { width: tinySide, height: tinySide }
  const grey = Uint8Array.from({ length: tinySide ** 2 }, (_, i) => (inBox(i % tinySide) ? 255 : 0))
  t.same(await draw(given, { mask: { ...area, data: grey } }), expected)
  const file = await sharp(grey, { raw: { ...area, channels: 1 } })
    .png()
    .toBuffer()
  t.same(await draw(given, { mask: file }), expected)
  const raw = sharp(given.data, { raw: { ...area, channels: 3 } })
  t.same(await draw(await raw.clone().png().toBuffer(), { mask: box }), expected, 'a file is its pixels')
  const transparent = await raw
    .joinChannel(Buffer.from(grey.map((v) => 255 - v)), { raw: { ...area, channels: 1 } })
    .png()
    .toBuffer()
  t.same(await draw(transparent, {}), expected)
})

t.test('a variation keeps coarse scales: none of them is a new picture, all the picture itself', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const given = picture()
  const draw = async (strength: number | undefined, seed: number, image = given) =>
    (await one(star.vary(image, { prompt, strength, seed }))).data
  const [fresh] = (await star.generate(prompt, { seed: 3 })).images
  t.same(await draw(1, 3), fresh.data)
  t.same(await draw(0, 3), await draw(0, 4))
  t.notSame(await draw(0.4, 3), await draw(0.4, 4))
  t.notSame(await draw(0.4, 3), fresh.data)
  t.notSame(await draw(0.4, 3), await draw(0.4, 3, picture(tinySide, tinySide, 3)))
  // Three scales: a half is two kept, rounded.
  t.same(await draw(undefined, 3), await draw(0.34, 3))
  const wide = await one(star.vary(picture(30, 20), { prompt, strength: 0.5 }))
  t.match(wide, { width: tinySide, height: tinySide, settings: { edited: { by: 'vary', strength: 0.5 } } })
})

t.test('every scale is shown in the picture, and a thread draws as the caller does', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  await using here = await Star.load(folder, { device: 'cpu', thread: 'main' })
  const wide = picture(20, 12)
  const seen: StarImage[] = []
  let shares: number[] = []
  const onScale = async ({ preview, scaleIndex, scales }: StarScaleEvent): Promise<void> => {
    seen.push(...(await preview()))
    shares.push((scaleIndex + 1) / scales)
  }
  const options = { prompt, mask: { x: 9, y: 3, width: 5, height: 6 } }
  const image = await one(star.edit(wide, { ...options, onScale }))
  t.same(shares, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1], 'three scales of the prompt alone, and three of the edit')
  t.same(seen.at(-1)!.data, image.data)
  t.notSame(seen[2].data, image.data)
  t.ok(seen.every(({ width, data }) => width === 20 && data[0] === wide.data[0]))
  t.same((await one(here.edit(wide, options))).data, image.data)
  shares = []
  await star.edit(wide, { ...options, strength: 0.5, onScale })
  t.same(shares, [1 / 3, 2 / 3, 1], 'where scales of the picture are kept there is one drawing')
  // Calls with and without a picture wait for each other and do not mix.
  const [edited, drawn, varied] = await Promise.all([
    one(star.edit(wide, options)),
    one(star.generate(prompt)),
    one(star.vary(wide, { prompt })),
  ])
  t.same(edited.data, image.data)
  t.same(drawn.data, (await one(star.generate(prompt))).data)
  t.same(varied.data, (await one(star.vary(wide, { prompt }))).data)
})

t.test('what cannot be changed is refused in one line', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const given = picture()
  const cases: [
    string,
    Partial<StarEditOptions> | Record<string, unknown>,
    { code: string; message: RegExp },
    unknown?,
  ][] = [
    ['no mask', {}, { code: 'ERR_ARGUMENT', message: /^nothing says which part/ }],
    [
      'a mask of another size',
      { mask: { width: 4, height: 4, data: new Uint8Array(16) } },
      { code: 'ERR_ARGUMENT', message: /the mask is 4×4, the picture 8×8/ },
    ],
    [
      'an empty mask',
      { mask: { width: 8, height: 8, data: new Uint8Array(64) } },
      { code: 'ERR_ARGUMENT', message: /^the mask is empty/ },
    ],
    [
      'a whole mask',
      { mask: { x: 0, y: 0, width: 8, height: 8 } },
      { code: 'ERR_ARGUMENT', message: /covers the whole picture/ },
    ],
    [
      'a box outside',
      { mask: { x: 6, y: 0, width: 4, height: 2 } },
      { code: 'ERR_ARGUMENT', message: /^the box is x 6, y 0, width 4/ },
    ],
    [
      'a broken box',
      { mask: { x: 1.5, y: 0, width: 4, height: 2 } },
      { code: 'ERR_ARGUMENT', message: /^the box is x 1.5/ },
    ],
    ['a mask that is none', { mask: 7 }, { code: 'ERR_ARGUMENT', message: /^the mask is 7/ }],
    ['a missing file', { mask: join(folder, 'none.png') }, { code: 'ERR_FILE', message: /none\.png/ }],
    [
      'a file of something else',
      { mask: Buffer.from('hello') },
      { code: 'ERR_FILE', message: /^the mask is no picture/ },
    ],
    [
      'an extension of half a pixel',
      { extend: { left: 0.5 } },
      { code: 'ERR_CONFIG', message: /"extend\.left" is 0.5/ },
    ],
    ['a strength beyond 1', { mask: box, strength: 2 }, { code: 'ERR_CONFIG', message: /"strength" is 2/ }],
    ['no prompt', { mask: box, prompt: undefined }, { code: 'ERR_ARGUMENT', message: /prompt/ }],
    ['an unknown option', { mask: box, blur: 3 }, { code: 'ERR_CONFIG', message: /did you mean "feather"/ }],
    ['no picture', { mask: box }, { code: 'ERR_ARGUMENT', message: /^the picture is 5/ }, 5],
    [
      'pixels without size',
      { mask: box },
      { code: 'ERR_ARGUMENT', message: /^the picture has 8×9 pixels and 192 bytes/ },
      { ...given, height: 9 },
    ],
  ]
  for (const [name, options, error, image = given] of cases) {
    const caught = await t.rejects(
      star.edit(image as PixelData, { prompt, ...options } as StarEditOptions),
      error,
      name,
    )
    t.notOk(String((caught as { message?: string }).message).includes('\n'))
  }
  await t.rejects(star.vary(given, { prompt, strength: -1 }), { code: 'ERR_CONFIG' })
  await star.dispose()
  await t.rejects(star.edit(given, { prompt, mask: box }), {
    code: 'ERR_ARGUMENT',
    message: /^edit: this model was disposed/,
  })
})

t.test('pictures that do not fit one batch are drawn some at a time, and told of by their places', async (t) => {
  await using star = await Star.load(folder, { device: 'cpu' })
  const given = picture()
  const seen: number[][] = []
  let started = 0
  const { images } = await star.edit(given, {
    ...{ prompt, mask: box, seed: 5, count: 3, batchSize: 2 },
    onStart: () => {
      started++
    },
    onScale: ({ images, scaleIndex, scales, total }) => {
      t.equal(total, 3)
      t.equal(scales, 2 * tinyScales)
      if (scaleIndex % tinyScales === 0) seen.push([...images])
    },
  })
  t.equal(started, 1)
  t.same(seen, [[0, 1], [0, 1], [2], [2]], 'each batch twice')
  for (const [i, { data }] of images.entries())
    t.same(data, (await one(star.edit(given, { prompt, mask: box, seed: 5 + i }))).data)
})
