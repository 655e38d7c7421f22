import { crc32 } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import {
  centreWindow,
  decodeImage,
  fromTensor,
  preprocessImage,
  type RgbImage,
  resizeLanczos,
  toTensor,
} from '../../../lib/data/preprocess.js'
import { scope, Tensor } from '../../../lib/tensor/index.js'

/** A picture whose pixel (x, y) is (x, y, 200). */
function ramp(width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i++) data.set([i % width, Math.floor(i / width), 200], i * 3)
  return { width, height, data }
}

const encoded = ({ data, width, height }: RgbImage) => sharp(data, { raw: { width, height, channels: 3 } })

t.test('pictures of every kind become 8-bit RGB', async (t) => {
  const image = ramp(7, 5)
  const png = await encoded(image).png().toBuffer()
  t.same(await decodeImage(png).then((d) => [d.width, d.height, ...d.data]), [7, 5, ...image.data])
  const webp = await encoded(image).webp({ lossless: true }).toBuffer()
  t.same([...(await decodeImage(webp)).data], [...image.data])
  const grey = await encoded(image).greyscale().png().toBuffer()
  const { data } = await decodeImage(grey)
  t.equal(data.length, 7 * 5 * 3)
  t.ok(
    data.every((value, i) => value === data[i - (i % 3)]),
    'grey has equal channels',
  )
  const greyAlpha = await sharp(grey).ensureAlpha(0.5).png().toBuffer()
  t.same([...(await decodeImage(greyAlpha)).data], [...data])
  const transparent = await encoded(image).ensureAlpha(0.25).png().toBuffer()
  t.same([...(await decodeImage(transparent)).data], [...image.data], 'transparency is dropped, not blended')
  const wide = await encoded(image).toColourspace('rgb16').png().toBuffer()
  t.equal((await decodeImage(wide)).data.length, 7 * 5 * 3, '16 bits a channel')
  const palette = await encoded(image).png({ palette: true }).toBuffer()
  t.equal((await decodeImage(palette)).data.length, 7 * 5 * 3)
  const jpeg = await encoded(ramp(40, 30)).jpeg().toBuffer()
  t.match(await decodeImage(jpeg), { width: 40, height: 30 })
})

t.test('pictures are turned upright where EXIF says how the camera was held', async (t) => {
  const image = ramp(7, 5)
  /** Where pixel (x, y) of the upright picture lies in the file, by orientation (EXIF 2.3, tag 0x0112). */
  const places: Record<number, (x: number, y: number) => [number, number]> = {
    1: (x, y) => [x, y],
    2: (x, y) => [6 - x, y],
    3: (x, y) => [6 - x, 4 - y],
    4: (x, y) => [x, 4 - y],
    5: (x, y) => [y, x],
    6: (x, y) => [y, 4 - x],
    7: (x, y) => [6 - y, 4 - x],
    8: (x, y) => [6 - y, x],
  }
  for (const [orientation, place] of Object.entries(places)) {
    const file = await encoded(image)
      .withMetadata({ orientation: Number(orientation) })
      .png()
      .toBuffer()
    const { width, height, data } = await decodeImage(file)
    t.same([width, height], Number(orientation) < 5 ? [7, 5] : [5, 7], orientation)
    for (const [x, y] of [
      [0, 0],
      [width - 1, 0],
      [1, height - 1],
    ])
      t.same([...data.subarray(3 * (y * width + x)).subarray(0, 2)], place(x, y), `${orientation}: ${x}, ${y}`)
  }
})

t.test('a few bytes that stand for gigabytes of pixels are refused before they are decoded', async (t) => {
  const refused = (what: RegExp) => ({ code: 'ERR_FILE', message: what })
  const png = await encoded(ramp(8, 8)).png().toBuffer()
  png.writeUInt32BE(16_000, 16)
  png.writeUInt32BE(16_000, 20)
  // The header's checksum, which libpng compares.
  png.writeUInt32BE(crc32(png.subarray(12, 29)), 29)
  await t.rejects(
    decodeImage(png, 'bomb.png'),
    refused(/^bomb\.png cannot be decoded \(Input image exceeds pixel limit\)/),
  )
  const jpeg = await encoded(ramp(8, 8)).jpeg().toBuffer()
  const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]))
  jpeg.writeUInt16BE(16_000, frame + 5)
  jpeg.writeUInt16BE(16_000, frame + 7)
  await t.rejects(
    decodeImage(jpeg, 'bomb.jpg'),
    refused(/^bomb\.jpg cannot be decoded \(Input image exceeds pixel limit\)/),
  )
  const long = await sharp({ create: { width: 1_048_577, height: 1, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  await t.rejects(decodeImage(long, 'long.png'), refused(/^long\.png cannot be decoded \(its sides are 1048577 and 1,/))
})

t.test('formats that a data set has no use for are refused, though the library reads them', async (t) => {
  for (const text of [
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>',
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    'P6 1 1 255 abc',
    '%PDF-1.4',
  ])
    await t.rejects(decodeImage(Buffer.from(text), 'x'), {
      code: 'ERR_FILE',
      message: /^x cannot be decoded \(it is no PNG, JPEG, WebP, GIF, AVIF or TIFF\)/,
    })
  const picture = ramp(9, 9)
  for (const format of ['png', 'jpeg', 'webp', 'gif', 'avif', 'tiff'] as const)
    t.equal((await decodeImage(await encoded(picture).toFormat(format).toBuffer())).width, 9, format)
})

t.test('what is no whole picture is refused by name', async (t) => {
  const png = await encoded(ramp(64, 64)).png({ compressionLevel: 0 }).toBuffer()
  for (const bytes of [Buffer.from('no picture'), new Uint8Array(0), png.subarray(0, 40), png.subarray(0, 5000)])
    await t.rejects(decodeImage(bytes, 'image "x" of a pack'), {
      name: 'StarError',
      code: 'ERR_FILE',
      message: /^image "x" of a pack cannot be decoded/,
    })
  await t.rejects(preprocessImage(png, 0), { code: 'ERR_ARGUMENT' })
})

t.test('the crop is the middle square, or the middle window of a ratio', async (t) => {
  const square = { width: 4, height: 4 }
  t.same(centreWindow(9, 4, square), [2, 0, 4, 4])
  t.same(centreWindow(4, 9, square), [0, 2, 4, 4])
  t.same(centreWindow(8, 4, square), [2, 0, 4, 4])
  t.same(centreWindow(5, 5, square), [0, 0, 5, 5])
  t.same(centreWindow(9, 4, { width: 30, height: 20 }), [1, 0, 6, 4])
  t.same(centreWindow(9, 9, { width: 30, height: 20 }), [0, 1, 9, 6])
  t.same(centreWindow(9, 9, { width: 20, height: 30 }), [1, 0, 6, 9])
  t.same(centreWindow(12, 8, { width: 30, height: 20 }), [0, 0, 12, 8])
  t.same(centreWindow(1, 1000, { width: 4, height: 1 }), [0, 499, 1, 1])
  const png = await encoded(ramp(9, 4)).png().toBuffer()
  const pixels = await preprocessImage(png, 4)
  t.same([...pixels.subarray(0, 6)], [2, 0, 200, 3, 0, 200])
  const mirrored = await preprocessImage(png, 4, { mirrored: true })
  t.same([...mirrored.subarray(0, 6)], [5, 0, 200, 4, 0, 200])
})

/** The definition in floating point, with the same rounding to 8 bits between the axes. */
function reference(image: RgbImage, width: number, height: number): Uint8Array {
  const lanczos = (x: number) =>
    x === 0 ? 1 : Math.abs(x) >= 3 ? 0 : (3 * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / 3)) / (Math.PI * x) ** 2
  const axis = (from: number, to: number, i: number): number[] => {
    const scale = from / to
    const wide = Math.max(1, scale)
    const centre = (i + 0.5) * scale
    // Half a pixel beyond the support is cut off whole: weights belong to pixels whose centre lies near enough.
    const first = Math.max(0, Math.trunc(centre - 3 * wide + 0.5))
    const last = Math.min(from, Math.trunc(centre + 3 * wide + 0.5))
    const weights = Array.from({ length: from }, (_, k) =>
      k >= first && k < last ? lanczos((k + 0.5 - centre) / wide) : 0,
    )
    const sum = weights.reduce((a, b) => a + b, 0)
    return weights.map((w) => w / sum)
  }
  const clamp = (v: number) => Math.min(255, Math.max(0, Math.round(v)))
  const middle = new Uint8Array(width * image.height * 3)
  for (let x = 0; x < width; x++) {
    const weights = axis(image.width, width, x)
    for (let y = 0; y < image.height; y++)
      for (let c = 0; c < 3; c++) {
        const sum = weights.reduce((s, w, k) => s + w * image.data[(y * image.width + k) * 3 + c], 0)
        middle[(y * width + x) * 3 + c] = clamp(sum)
      }
  }
  const out = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    const weights = axis(image.height, height, y)
    for (let i = 0; i < width * 3; i++)
      out[y * width * 3 + i] = clamp(weights.reduce((s, w, k) => s + w * middle[k * width * 3 + i], 0))
  }
  return out
}

t.test('Lanczos agrees with its definition over sizes odd and even, up and down', async (t) => {
  for (const [from, to] of [
    [1, 1],
    [1, 5],
    [2, 1],
    [5, 5],
    [7, 3],
    [13, 29],
    [64, 17],
    [33, 1],
  ]) {
    const image = ramp(from, from + 2)
    for (let i = 0; i < image.data.length; i++) image.data[i] = (Math.imul(i + 7, 0x9e3779b1) >>> 24) & 255
    const ours = await resizeLanczos(image, to, to + 1)
    t.equal(ours.data.length, to * (to + 1) * 3)
    const expected = reference(image, to, to + 1)
    const worst = ours.data.reduce((m, v, i) => Math.max(m, Math.abs(v - expected[i])), 0)
    t.ok(worst <= 1, `${from} → ${to}: ${worst}`)
  }
  const image = ramp(6, 6)
  t.same((await resizeLanczos(image, 6, 6)).data, image.data, 'the same size changes nothing')
})

t.test('a flat picture stays flat', async (t) => {
  for (const value of [0, 1, 127, 255]) {
    const flat = { width: 19, height: 19, data: new Uint8Array(19 * 19 * 3).fill(value) }
    for (const size of [3, 8, 40]) t.ok((await resizeLanczos(flat, size, size)).data.every((v) => v === value))
  }
})

t.test('bytes become [−1, 1] and come back', async (t) => {
  scope(() => {
    const a = Uint8Array.from({ length: 12 }, (_, i) => i * 23)
    const b = Uint8Array.from({ length: 12 }, (_, i) => 255 - i)
    const batch = toTensor([a, b], 2)
    t.same(batch.shape, [2, 2, 2, 3])
    const values = batch.floats()
    t.equal(values[0], -1)
    t.equal(toTensor([new Uint8Array(3).fill(255)], 1).floats()[0], 1)
    const [first, second] = fromTensor(batch)
    t.same(first, { width: 2, height: 2, data: a })
    t.same(second.data, b)
    t.same(toTensor([], 4).shape, [0, 4, 4, 3])
    t.throws(() => toTensor([a], 3), { code: 'ERR_SHAPE', message: /image 0 has 12 bytes, expected 27/ })
    const wild = Tensor.from([-7, 2, Number.NaN], [1, 1, 1, 3])
    t.same([...fromTensor(wild)[0].data], [0, 255, 0])
    t.throws(() => fromTensor(Tensor.from([1, 2], [1, 1, 2, 1])), { code: 'ERR_SHAPE' })
  })
})
