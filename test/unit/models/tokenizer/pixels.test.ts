/** Bytes of pictures: rounded, and truncated in float32 as the reference implementation does. */
import t from 'tap'
import { pixelsOf } from '../../../../lib/models/tokenizer/index.js'
import { Tensor } from '../../../../lib/tensor/index.js'

t.test('values between two bytes', async (t) => {
  // 127.5·(x + 1) is 0, 1.9, 100.6, 127.5, 254.4, 255; beyond both ends; and just below a whole number.
  const given = [-1, 1.9 / 127.5 - 1, 100.6 / 127.5 - 1, 0, 254.4 / 127.5 - 1, 1, -3, 3, 199.999 / 127.5 - 1]
  using images = Tensor.from(given, [1, 3, 1, 3])
  t.same([...pixelsOf(images)[0]], [0, 2, 101, 128, 254, 255, 0, 255, 200])
  t.same([...pixelsOf(images, 'truncate')[0]], [0, 1, 100, 127, 254, 255, 0, 255, 199])
})

t.test('every value of a grid, computed step by step in arrays of float32', async (t) => {
  const count = 3 * 4099
  const values = Float32Array.from({ length: count }, (_, i) => -1.01 + (2.02 * i) / (count - 1))
  const work = values.map((x) => Math.max(-1, Math.min(1, x)))
  for (let i = 0; i < count; i++) work[i] += 1
  for (let i = 0; i < count; i++) work[i] *= 0.5
  for (let i = 0; i < count; i++) work[i] *= 255
  const expected = new Uint8Array(count)
  for (let i = 0; i < count; i++) expected[i] = work[i] | 0
  using images = Tensor.from(values, [1, 4099, 1, 3])
  t.ok(Buffer.from(pixelsOf(images, 'truncate')[0]).equals(Buffer.from(expected)))
  const rounded = pixelsOf(images)[0]
  const different = rounded.filter((byte, i) => byte !== expected[i]).length
  t.ok(different > 0.45 * count && different < 0.55 * count, 'about half of all bytes differ by rounding')
})
