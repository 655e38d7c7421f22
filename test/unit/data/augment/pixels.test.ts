import sharp from 'sharp'
import t from 'tap'
import {
  boxOfThing,
  hasWhiteEdge,
  opacityOnWhite,
  paintBackground,
  prevailingHue,
  turnHue,
} from '../../../../lib/data/augment/pixels.js'
import { mainColour } from '../../../../lib/data/colour.js'

const side = 64
const size = { width: side, height: side }

/** An SVG on a background, three bytes a pixel. */
async function drawn(body: string, background = '#ffffff'): Promise<Uint8Array> {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${side}" height="${side}">${body}</svg>`
  return sharp(Buffer.from(svg)).flatten({ background }).raw().toBuffer()
}
const all = [0, 0, side, side] as const
const largest = (a: Uint8Array, b: Uint8Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0)

t.test('a thing on white is put before a colour as if it had been drawn there', async (t) => {
  for (const body of [
    '<circle cx="30" cy="34" r="20" fill="#c22"/>',
    '<path d="M32 5 L60 58 L4 58 Z" fill="#2563eb" stroke="#111" stroke-width="3"/>',
    '<circle cx="32" cy="32" r="24" fill="#fc3"/><circle cx="24" cy="28" r="4" fill="#fff"/><circle cx="40" cy="28" r="4" fill="#fff"/>',
  ]) {
    const picture = Uint8Array.from(await drawn(body))
    const alpha = opacityOnWhite(picture, size)!
    t.not(alpha, null)
    paintBackground(picture, alpha, [40, 90, 200])
    const error = largest(picture, await drawn(body, 'rgb(40,90,200)'))
    t.ok(error <= 40, `no pixel is off by more than 40 of 255: ${error}`)
  }
})

t.test('where a thing ends cannot be told if it is white or full of holes', async (t) => {
  t.equal(opacityOnWhite(await drawn('<circle cx="32" cy="32" r="20" fill="#f2f2f2"/>'), size), null)
  t.equal(
    opacityOnWhite(await drawn('<circle cx="32" cy="32" r="20" fill="none" stroke="#c22" stroke-width="4"/>'), size),
    null,
  )
  t.equal(opacityOnWhite(await drawn(''), size), null)
})

t.test('edges and boxes', async (t) => {
  const dot = await drawn('<rect x="10" y="20" width="5" height="7" fill="#c22"/>')
  t.ok(hasWhiteEdge(dot, side, all))
  t.same(boxOfThing(dot, size), [10, 20, 14, 26])
  t.equal(boxOfThing(await drawn(''), size), null)
  t.notOk(hasWhiteEdge(await drawn('', '#88aaff'), side, all))
  t.notOk(hasWhiteEdge(dot, side, [10, 20, 5, 7]), 'of a window')
})

t.test('a hue turns into another, and other colours stay', async (t) => {
  const car = await drawn(
    '<rect x="6" y="20" width="52" height="30" fill="#d32f2f"/><rect x="14" y="24" width="8" height="8" fill="#90caf9"/><circle cx="18" cy="52" r="5" fill="#222"/>',
  )
  t.equal(prevailingHue(car), 'red')
  for (const to of ['blue', 'green', 'purple', 'orange'] as const) {
    const turned = turnHue(car, 'red', to)!
    t.equal(mainColour(turned)?.name, to)
    const at = (x: number, y: number, rgb: Uint8Array) => [...rgb.subarray(3 * (y * side + x), 3 * (y * side + x) + 3)]
    for (const [x, y] of [
      [18, 28],
      [18, 53],
      [1, 1],
    ])
      t.same(at(x, y, turned), at(x, y, car), 'window, wheel and white')
  }
})

t.test('only a colour that clearly prevails can change, and only to what one would call so', async (t) => {
  t.equal(
    prevailingHue(
      await drawn('<rect width="30" height="60" fill="#d22"/><rect x="30" width="30" height="60" fill="#24d"/>'),
    ),
    null,
  )
  t.equal(prevailingHue(await drawn('<rect width="60" height="60" fill="#777"/>')), null)
  t.equal(prevailingHue(await drawn('<rect width="60" height="60" fill="#6d4c41"/>')), null, 'brown is no hue')
  const dark = await drawn('<rect width="60" height="60" fill="#a01010"/>')
  t.equal(prevailingHue(dark), 'red')
  t.equal(turnHue(dark, 'red', 'yellow'), null, 'dark yellow is not yellow')
})
