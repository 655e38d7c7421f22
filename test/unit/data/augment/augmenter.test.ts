import sharp from 'sharp'
import t from 'tap'
import { Augmenter, type AugmentOptions } from '../../../../lib/data/augment/index.js'
import { boxOfThing } from '../../../../lib/data/augment/pixels.js'
import { colourName, mainColour } from '../../../../lib/data/colour.js'
import { preprocessImage } from '../../../../lib/data/preprocess.js'
import { contentKey } from '../../../../lib/data/record-cache.js'

const picture = (body: string, { background = '#ffffff', width = 96, height = 96 } = {}) =>
  sharp(Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${body}</svg>`))
    .flatten({ background })
    .png()
    .toBuffer()
const apple = picture('<circle cx="46" cy="50" r="40" fill="#d62828"/>')
const none: AugmentOptions = { variants: 40, shift: 0, scale: 1, flip: 0, background: 0, hue: 0 }
const side = 48
const square = { width: side, height: side }

async function versions(options: Partial<AugmentOptions>, bytes: Buffer, captions: readonly string[], size = square) {
  const augmenter = new Augmenter({ ...none, ...options })
  return Promise.all(
    Array.from({ length: 40 }, async (_, variant) => {
      const version = augmenter.version(bytes, { captions, variant, size, named: size === square })
      return { ...version, ...(await augmenter.make(version, bytes, 'apple')), later: augmenter.captionsOf(version) }
    }),
  )
}

t.test('the first version is the record as it is', async (t) => {
  const bytes = await apple
  const all = { shift: 0.2, scale: 0.5, flip: 1, background: 1, hue: 1 }
  const [first, ...others] = await versions(all, bytes, ['a red apple'])
  t.ok(first.key.equals(contentKey(bytes, false)))
  t.ok(Buffer.from(first.pixels).equals(await preprocessImage(bytes, side)))
  t.same(first.captions, ['a red apple'])
  t.equal(new Set([first, ...others].map(({ key }) => key.toString('hex'))).size, 40, 'keys differ')
})

t.test('versions depend on the record, its captions and the options only', async (t) => {
  const bytes = await apple
  const options = { shift: 0.1, scale: 0.7, flip: 0.5, background: 0.5, hue: 0.5 }
  const [once, again] = [
    await versions(options, bytes, ['a red apple']),
    await versions(options, bytes, ['a red apple']),
  ]
  t.same(again, once)
  for (const { captions, later } of once) t.same(later, captions, 'captions are known once the pixels were made')
  const other = await versions(options, bytes, ['a red fruit'])
  t.ok(other.slice(1).every(({ key }, i) => !key.equals(once[i + 1].key)))
  // A chance changed leaves the rest of each version as it was.
  const still = await versions({ ...options, background: 0 }, bytes, ['a red apple'])
  for (const [i, { plan }] of once.entries()) t.same(still[i].plan, plan && { ...plan, background: null })
})

t.test('a shifted and smaller thing is whole, on white', async (t) => {
  const made = await versions({ shift: 0.5, scale: 0.5 }, await apple, ['an apple'])
  const boxes = made.map(({ pixels }) => boxOfThing(pixels, square)!)
  const sizes = boxes.map(([left, top, right, bottom]) => [right - left + 1, bottom - top + 1])
  for (const [width, height] of sizes) t.ok(Math.abs(width - height) <= 1, `${width} by ${height}`)
  const widths = sizes.map(([width]) => width)
  t.ok(Math.max(...widths) <= 43 && Math.min(...widths) >= 20 && Math.max(...widths) - Math.min(...widths) > 10)
  t.ok(new Set(boxes.map(([left]) => left)).size > 8, 'at many places')
  for (const { pixels, captions } of made) {
    t.equal(mainColour(pixels)?.name, 'red')
    t.same(captions, ['an apple'])
  }
})

t.test('a picture that is no square is changed within its own shape', async (t) => {
  const bytes = await picture('<ellipse cx="64" cy="32" rx="40" ry="20" fill="#d62828"/>', { width: 128, height: 64 })
  const size = { width: 64, height: 32 }
  const options = { shift: 0.3, scale: 0.5, flip: 0.5, background: 0.3, hue: 0.3 }
  const made = await versions(options, bytes, ['a red pebble'], size)
  const squares = await versions(options, bytes, ['a red pebble'])
  t.same(
    made.map(({ plan }) => plan),
    squares.map(({ plan }) => plan),
    'the plan is the record’s, whatever its size',
  )
  const keys = [...made, ...squares].map(({ key }) => key.toString('hex'))
  t.equal(new Set(keys).size, 80, 'keys tell sizes apart')
  t.ok(Buffer.from(made[0].pixels).equals(await preprocessImage(bytes, size)))
  for (const { pixels } of made) t.equal(pixels.length, 64 * 32 * 3)
  const onWhite = made.filter(({ captions }) => !/background/.test(captions[0]))
  const boxes = onWhite.map(({ pixels }) => boxOfThing(pixels, size)!)
  for (const [left, top, right, bottom] of boxes) {
    const [width, height] = [right - left + 1, bottom - top + 1]
    t.ok(width >= 19 && width <= 43 && Math.abs(width - 2 * height) <= 4, `${width}×${height} at ${left}, ${top}`)
  }
  t.ok(new Set(boxes.map(([left]) => left)).size > 8 && new Set(boxes.map(([, top]) => top)).size > 4, 'at many places')
  t.ok(onWhite.length < 40 && made.some(({ captions }) => /background/.test(captions[0])))
})

t.test('pictures that fill their frame keep size and place', async (t) => {
  const photo = await picture('<rect x="20" width="60" height="96" fill="#d62828"/>', { background: '#3366aa' })
  const given = await preprocessImage(photo, side)
  for (const { pixels, captions } of await versions({ shift: 0.5, scale: 0.5, background: 1, hue: 1 }, photo, [
    'a door',
  ])) {
    t.ok(Buffer.from(pixels).equals(given))
    t.same(captions, ['a door'])
  }
})

t.test('captions say the background and the colour that are seen', async (t) => {
  const made = await versions({ background: 0.7, hue: 0.7 }, await apple, ['a red apple, 3D', 'an apple'])
  let [hues, backgrounds, both] = [0, 0, 0]
  for (const { pixels, captions } of made) {
    const [, hue, background] = /^an? (\w+) apple(?: on an? (\w+) background)?, 3D$/.exec(captions[0])!
    const corner = [...pixels.subarray(0, 3)] as [number, number, number]
    const middle = [...pixels.subarray(3 * (side * 24 + 24), 3 * (side * 24 + 24) + 3)] as [number, number, number]
    t.equal(colourName(...middle), hue)
    if (background === undefined || background === 'white') t.same(corner, [255, 255, 255])
    else if (background === 'gray' || background === 'black') t.equal(colourName(...corner), null)
    else t.equal(colourName(...corner), background)
    t.not(hue, background)
    if (hue !== 'red') {
      hues++
      t.match(captions[1], new RegExp(`^an? ${hue} apple`))
    }
    if (background) {
      backgrounds++
      t.match(captions[1], new RegExp(`apple on an? ${background} background$`))
    }
    if (hue !== 'red' && background) both++
  }
  t.ok(hues > 10 && backgrounds > 15 && both > 5, `${hues} hues, ${backgrounds} backgrounds, ${both} both`)
})

t.test('mirroring heeds the captions', async (t) => {
  const bytes = await picture('<rect x="10" y="20" width="20" height="50" fill="#d62828"/>')
  const mirrored = (captions: readonly string[]) =>
    versions({ flip: 0.5 }, bytes, captions).then(
      (all) => all.filter(({ pixels }) => boxOfThing(pixels, square)![0] > 24).length,
    )
  const count = await mirrored(['a brick'])
  t.ok(count > 8 && count < 32, `${count} of 40`)
  t.equal(await mirrored(['a brick', 'a brick on the left']), 0)
})
