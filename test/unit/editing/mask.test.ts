import sharp from 'sharp'
import t from 'tap'
import { fill, fitted } from '../../../lib/editing/fill.js'
import { feathered, type Mask, openMask } from '../../../lib/editing/mask.js'
import { windowOf } from '../../../lib/editing/window.js'

const size = { width: 9, height: 6 }
const mask = (drawn: (x: number, y: number) => number, { width, height } = size): Mask => ({
  width,
  height,
  drawn: Float32Array.from({ length: width * height }, (_, i) => drawn(i % width, Math.floor(i / width))),
})
const box = { x: 3, y: 1, width: 2, height: 4 }
const inBox = (x: number, y: number): number => Number(x >= 3 && x < 5 && y >= 1 && y < 5)

t.test('boxes, grey pictures, transparency and bytes make the same mask', async (t) => {
  const expected = mask(inBox).drawn
  const bytes = Uint8Array.from(expected, (share) => share * 255)
  const png = (channels: 3 | 4, value: (share: number) => number[]) =>
    sharp(Uint8Array.from([...expected].flatMap(value)), { raw: { ...size, channels } })
      .png()
      .toBuffer()
  t.same((await openMask(box, size)).drawn, expected)
  t.same((await openMask({ ...size, data: bytes }, size)).drawn, expected)
  t.same((await openMask(await png(3, (share) => Array(3).fill(share * 255)), size)).drawn, expected)
  // Colours say nothing where a part is transparent.
  t.same((await openMask(await png(4, (share) => [9, 200, 7, 255 * (1 - share)]), size)).drawn, expected)
  const half = await openMask(await png(3, (share) => Array(3).fill(share * 51)), size)
  t.ok(
    half.drawn.every((share, i) => Math.abs(share - expected[i] / 5) < 1e-6),
    'grey is drawn in part',
  )
})

t.test('the edge fades with the distance to the mask', async (t) => {
  const radius = 2
  const { drawn } = await feathered(mask(inBox), radius)
  for (let y = 0; y < size.height; y++)
    for (let x = 0; x < size.width; x++) {
      // Every pixel of the box, one by one.
      let nearest = Number.POSITIVE_INFINITY
      for (let v = 1; v < 5; v++) for (let u = 3; u < 5; u++) nearest = Math.min(nearest, Math.hypot(x - u, y - v))
      const expected = Math.max(0, 1 - nearest / (radius + 1))
      t.ok(Math.abs(drawn[y * size.width + x] - expected) < 1e-6, `${x}, ${y}`)
    }
  t.equal((await feathered(mask(inBox), 0)).drawn.filter((share) => share > 0).length, 8)
  const grey = mask((x, y) => 0.5 * inBox(x, y))
  t.same((await feathered(grey, radius)).drawn, grey.drawn, 'what is drawn in part has no edge of its own')
})

t.test('the model sees the largest square around the mask', async (t) => {
  const window = async (drawn: Mask, radius = 0) => windowOf(drawn, await feathered(drawn, radius))
  t.same(await window(mask(inBox)), { left: 1, top: 0, side: 6 })
  t.same(await window(mask((x) => Number(x === 8))), { left: 3, top: 0, side: 6 })
  t.same(
    await window(
      mask((x) => Number(x < 4)),
      2,
    ),
    { left: 0, top: 0, side: 6 },
  )
  t.same(await window(mask((_, y) => Number(y === 0), { width: 4, height: 8 })), { left: 0, top: 0, side: 4 })
  t.same(
    await window(mask((x) => Number(x < 5))),
    { left: 0, top: -2, side: 9 },
    'the whole picture around large parts',
  )
  t.same(
    await window(
      mask((x) => Number(x < 7)),
      1,
    ),
    { left: 0, top: -2, side: 9 },
  )
  t.same(await window(mask((x) => Number(x < 7), { width: 8, height: 8 })), { left: 0, top: 0, side: 8 })
})

t.test('what is missing is filled from what is around it', async (t) => {
  const [width, height] = [7, 5]
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 29) % 256)
  const inside = (i: number) => i % width > 1 && i % width < 5 && i > width && i < 4 * width
  const weights = Float32Array.from({ length: width * height }, (_, i) => (inside(i) ? 0 : 1))
  const known = (pixels: Uint8Array) => pixels.filter((_, i) => !inside(Math.floor(i / 3)))
  const filled = fill({ width, height, rgb }, weights)
  t.same(known(filled), known(rgb), 'what is known stays')
  const other = rgb.map((byte, i) => (inside(Math.floor(i / 3)) ? 255 - byte : byte))
  t.same(fill({ width, height, rgb: other }, weights), filled, 'what is missing has no influence')
  const flat = rgb.map((_, i) => (inside(Math.floor(i / 3)) ? 0 : [10, 120, 250][i % 3]))
  t.same(
    fill({ width, height, rgb: flat }, weights),
    flat.map((_, i) => [10, 120, 250][i % 3]),
    'one colour stays that colour',
  )
  // From black on the left to white on the right, the middle is between.
  const ramp = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => (Math.floor(i / 3) % 8 < 4 ? 0 : 255))
  const edges = Float32Array.from({ length: 64 }, (_, i) => Number(i % 8 === 0 || i % 8 === 7))
  const row = [...fill({ width: 8, height: 8, rgb: ramp }, edges)].filter((_, i) => i % 3 === 0).slice(24, 32)
  t.ok(
    row.every((value, x) => x === 0 || value >= row[x - 1]),
    row.join(' '),
  )
  t.ok(row[3] > 0 && row[4] < 255)
})

t.test('another picture is fitted to what is known', async (t) => {
  const [width, height] = [7, 5]
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => 60 + ((i * 29) % 120))
  const inside = (i: number) => i % width > 1 && i % width < 5 && i > width && i < 4 * width
  const weights = Float32Array.from({ length: width * height }, (_, i) => (inside(i) ? 0 : 1))
  const only = (pixels: Uint8Array, where: (i: number) => boolean) => pixels.filter((_, i) => where(Math.floor(i / 3)))
  const other = rgb.map((_, i) => 60 + ((i * 31) % 120))
  const seen = { width, height, rgb }
  t.same(
    only(fitted(seen, weights, other), (i) => !inside(i)),
    only(rgb, (i) => !inside(i)),
    'what is known stays',
  )
  t.same(fitted(seen, weights, rgb), rgb, 'a picture fits itself')
  const darker = rgb.map((byte, i) => byte - [10, 20, 30][i % 3])
  t.same(fitted(seen, weights, darker), rgb, 'a difference that is the same all around is made good')
  const hidden = rgb.map((byte, i) => (inside(Math.floor(i / 3)) ? 255 - byte : byte))
  t.same(
    fitted({ width, height, rgb: hidden }, weights, other),
    fitted(seen, weights, other),
    'the missing has no influence',
  )
})
