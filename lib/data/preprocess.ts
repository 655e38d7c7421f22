/**
 * From an encoded image to model input: decode, crop to the middle, Lanczos resize, [−1, 1]. The resize is Pillow's
 * (what the published data loader calls), bit for bit, so that training data does not depend on the image library.
 */
import sharp from 'sharp'
import { native, StarError } from '../native/index.js'
import { Tensor } from '../tensor/index.js'
import { type PictureSize, sizeOf } from './buckets.js'

/** 8-bit RGB, row-major, three bytes a pixel. */
export interface RgbImage {
  width: number
  height: number
  data: Uint8Array
}

/** About what a picture of 256 MiB has, three bytes a pixel; decoders take some times as much while they work. */
const mostPixels = 89_478_485
/** Longest side that the resize takes. */
const longestSide = 1 << 20

/** First bytes of the formats that are read. libvips knows more (SVG, PDF, …), whose readers are programs of their own. */
const formats: readonly (readonly [at: number, mark: string])[] = [
  [0, '\x89PNG\r\n\x1a\n'],
  [0, '\xff\xd8\xff'],
  [8, 'WEBP'],
  [0, 'GIF8'],
  [4, 'ftypavif'],
  [4, 'ftypavis'],
  [4, 'ftypmif1'],
  [0, 'II*\0'],
  [0, 'MM\0*'],
  [0, 'II+\0'],
  [0, 'MM\0+'],
]

function expectKnownFormat(bytes: Uint8Array): void {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(16, bytes.length)).toString('latin1')
  if (!formats.some(([at, mark]) => head.startsWith(mark, at)))
    throw new Error('it is no PNG, JPEG, WebP, GIF, AVIF or TIFF')
}

/**
 * Decodes PNG, JPEG, WebP, GIF (first frame), AVIF or TIFF to 8-bit RGB. Transparency is dropped without blending and
 * colour profiles are ignored, as the loader of the reference implementation does; grey becomes three equal channels. Unlike there, a picture is turned
 * upright where EXIF says how the camera was held.
 * @param name what the error calls the image
 * @throws ERR_FILE when the bytes are no complete image of these formats, or one of more than 89,478,485 pixels or with a side
 * beyond 2²⁰
 */
export async function decodeImage(bytes: Uint8Array, name = 'an image'): Promise<RgbImage> {
  try {
    expectKnownFormat(bytes)
    const options = { ignoreIcc: true, failOn: 'error', limitInputPixels: mostPixels } as const
    const image = sharp(bytes, { ...options, autoOrient: true })
    const { data, info } = await image
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    if (Math.max(info.width, info.height) > longestSide)
      throw new Error(`its sides are ${info.width} and ${info.height}, the longest that is read is ${longestSide}`)
    if (info.channels === 3) return { width: info.width, height: info.height, data }
    const rgb = new Uint8Array(info.width * info.height * 3)
    for (let i = 0; i < rgb.length; i++) rgb[i] = data[Math.floor(i / 3) * info.channels]
    return { width: info.width, height: info.height, data: rgb }
  } catch (error) {
    throw new StarError(
      'ERR_FILE',
      `${name} cannot be decoded (${(error as Error).message.trim()}): replace it, or leave it out`,
      { cause: error },
    )
  }
}

/**
 * The largest window in the middle with the ratio of sides of `size`, of a square for instance: [left, top, width, height]. Of an odd
 * rest the right or lower side loses one pixel more.
 */
export function centreWindow(width: number, height: number, size: PictureSize): [number, number, number, number] {
  const w = Math.max(1, Math.min(width, Math.round((height * size.width) / size.height)))
  const h = Math.max(1, Math.min(height, Math.round((width * size.height) / size.width)))
  return [Math.floor((width - w) / 2), Math.floor((height - h) / 2), w, h]
}

/** Lanczos resize (a = 3, antialiased): columns first, then rows, rounded to 8 bits in between. */
export async function resizeLanczos(image: RgbImage, width: number, height: number): Promise<RgbImage> {
  const size = [image.width, image.height] as const
  const data = await native.resizeLanczos(image.data, size, [0, 0, ...size], [width, height], false)
  return { width, height, data }
}

/**
 * Decodes, crops to the middle window of the size's ratio, resizes, and mirrors left to right if asked.
 * @param size of the result; a number is the side of a square
 * @returns width·height·3 bytes, row-major RGB
 * @throws ERR_FILE when the bytes are no image
 */
export async function preprocessImage(
  bytes: Uint8Array,
  size: PictureSize | number,
  options: { name?: string; mirrored?: boolean } = {},
): Promise<Uint8Array> {
  const own = sizeOf(size)
  if (![own.width, own.height].every((side) => Number.isInteger(side) && side >= 1))
    throw new StarError(
      'ERR_ARGUMENT',
      `preprocessImage: the size is ${own.width}×${own.height}, expected whole numbers of pixels`,
    )
  const { width, height, data } = await decodeImage(bytes, options.name)
  const window = centreWindow(width, height, own)
  return native.resizeLanczos(data, [width, height], window, [own.width, own.height], options.mirrored ?? false)
}

const toSigned = Float32Array.from({ length: 256 }, (_, value) => value / 127.5 - 1)

/**
 * A batch of images as model input: x = v/127.5 − 1.
 * @param images n images of height·width·3 bytes
 * @param size of all; a number is the side of squares
 * @returns (n, height, width, 3) f32 in [−1, 1]
 */
export function toTensor(
  images: readonly Uint8Array[],
  size: PictureSize | number,
  options: { device?: string } = {},
): Tensor {
  const { width, height } = sizeOf(size)
  const bytes = height * width * 3
  const batch = new Float32Array(images.length * bytes)
  images.forEach((pixels, n) => {
    if (pixels.length !== bytes)
      throw new StarError(
        'ERR_SHAPE',
        `toTensor: image ${n} has ${pixels.length} bytes, expected ${bytes} (${width}×${height} RGB)`,
      )
    const start = n * bytes
    for (let i = 0; i < bytes; i++) batch[start + i] = toSigned[pixels[i]]
  })
  return Tensor.from(batch, [images.length, height, width, 3], { device: options.device })
}

/**
 * Images from model output: v = round((x + 1)·127.5), clamped.
 * @param batch (n, h, w, 3) f32
 */
export function fromTensor(batch: Tensor): RgbImage[] {
  const [n, height, width, channels] = batch.shape
  if (batch.rank !== 4 || channels !== 3)
    throw new StarError(
      'ERR_SHAPE',
      `fromTensor: the batch has shape (${batch.shape.join(', ')}), expected (images, height, width, 3)`,
    )
  const values = batch.floats()
  const size = height * width * 3
  // A clamped array rounds and clamps on assignment; NaN becomes 0.
  return Array.from({ length: n }, (_, i) => {
    const data = new Uint8ClampedArray(size)
    for (let k = 0; k < size; k++) data[k] = (values[i * size + k] + 1) * 127.5
    return { width, height, data: new Uint8Array(data.buffer) }
  })
}
