import sharp from 'sharp'
import t from 'tap'
import { encodePng, readPngText } from '../../../lib/data/index.js'

t.test('another decoder reads the same pixels', async (t) => {
  for (const [width, height] of [
    [1, 1],
    [3, 5],
    [64, 33],
  ]) {
    const smooth = (i: number) => (i * 7 + ((i / 3 / width) | 0) * 3) & 255
    const noise = (i: number) => (Math.imul(i + 1, 0x9e3779b1) >>> 24) & 255
    for (const value of [smooth, noise, () => 255]) {
      const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => value(i))
      const decoded = await sharp(encodePng({ width, height, data })).raw().toBuffer({ resolveWithObject: true })
      t.match(decoded.info, { width, height, channels: 3 })
      t.same(new Uint8Array(decoded.data), data)
    }
  }
})

t.test('texts come back, whatever their script', async (t) => {
  const text = {
    Description: 'a red apple',
    'star-t2i': '{"seed":42}',
    Comment: 'ein Äpfelchen 🍎\nzweite Zeile',
    Empty: '',
  }
  const png = encodePng({ width: 1, height: 1, data: new Uint8Array(3), text })
  t.same(readPngText(png), text)
  t.same(encodePng({ width: 1, height: 1, data: new Uint8Array(3), text }), png, 'the same bytes again')
  t.same(await sharp(png).raw().toBuffer(), Buffer.alloc(3), 'other readers take the file')
})

t.test('what does not fit is refused', async (t) => {
  t.throws(() => encodePng({ width: 2, height: 1, data: new Uint8Array(3) }), {
    code: 'ERR_ARGUMENT',
    message: /3 bytes for 2 × 1 pixels, expected 6/,
  })
  t.throws(() => encodePng({ width: 1, height: 1, data: new Uint8Array(3), text: { 'a\0': '' } }), {
    code: 'ERR_ARGUMENT',
  })
  const png = encodePng({ width: 1, height: 1, data: new Uint8Array(3) })
  t.throws(() => readPngText(png.subarray(0, png.length - 5)), { code: 'ERR_FILE' })
  t.throws(() => readPngText(Buffer.from('text')), { code: 'ERR_FILE' })
})
