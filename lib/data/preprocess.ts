/**
 * From an encoded image to model input: decode, centre-crop to a square, Lanczos resize, [−1, 1]. The resize is Pillow's
 * (what the published data loader calls), bit for bit, so that training data does not depend on the image library.
 */
import sharp from 'sharp'
import { StarError } from '../native/index.js'
import { Tensor } from '../tensor/index.js'

/** 8-bit RGB, row-major, three bytes a pixel. */
export interface RgbImage {
  width: number
  height: number
  data: Uint8Array
}

/**
 * Decodes PNG, JPEG, WebP, GIF (first frame), AVIF or TIFF to 8-bit RGB. Transparency is dropped without blending and
 * colour profiles are ignored, as the published loader does; grey becomes three equal channels.
 * @param name what the error calls the image
 * @throws ERR_FILE when the bytes are no complete image
 */
export async function decodeImage(bytes: Uint8Array, name = 'an image'): Promise<RgbImage> {
  try {
    const { data, info } = await sharp(bytes, { ignoreIcc: true, failOn: 'error' })
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
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

/** The largest square in the middle; of an odd rest the right or lower side loses one pixel more. */
export function centreCrop(image: RgbImage): RgbImage {
  const side = Math.min(image.width, image.height)
  if (image.width === side && image.height === side) return image
  const left = Math.floor((image.width - side) / 2)
  const top = Math.floor((image.height - side) / 2)
  const data = new Uint8Array(side * side * 3)
  for (let y = 0; y < side; y++) {
    const start = ((top + y) * image.width + left) * 3
    data.set(image.data.subarray(start, start + side * 3), y * side * 3)
  }
  return { width: side, height: side, data }
}

const lanczosSupport = 3
/** Fractional bits of the weights: 32, less 8 of a pixel and 2 for sums beyond its range. */
const weightBits = 22

function lanczos(x: number): number {
  if (x === 0) return 1
  if (x < -lanczosSupport || x >= lanczosSupport) return 0
  const a = x * Math.PI
  return (Math.sin(a) / a) * (Math.sin(a / lanczosSupport) / (a / lanczosSupport))
}

/** For each output position the first input position, how many there are, and their fixed-point weights (`taps` apart). */
interface Weights {
  first: Int32Array
  count: Int32Array
  values: Int32Array
  taps: number
}

const weightCache = new Map<string, Weights>()

/** The kernel widened by the scale when shrinking (antialias), normalised, rounded to fixed point. */
function weightsFor(from: number, to: number): Weights {
  const name = `${from}>${to}`
  const known = weightCache.get(name)
  if (known) return known
  const scale = from / to
  const filterScale = Math.max(scale, 1)
  const support = lanczosSupport * filterScale
  const taps = Math.ceil(support) * 2 + 1
  const weights: Weights = {
    first: new Int32Array(to),
    count: new Int32Array(to),
    values: new Int32Array(to * taps),
    taps,
  }
  const exact = new Float64Array(taps)
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale
    const first = Math.max(0, Math.trunc(centre - support + 0.5))
    const count = Math.min(from, Math.trunc(centre + support + 0.5)) - first
    let sum = 0
    for (let k = 0; k < count; k++) sum += exact[k] = lanczos((k + first - centre + 0.5) / filterScale)
    for (let k = 0; k < count; k++) {
      const value = (exact[k] / sum) * (1 << weightBits)
      weights.values[i * taps + k] = value < 0 ? Math.trunc(value - 0.5) : Math.trunc(value + 0.5)
    }
    weights.first[i] = first
    weights.count[i] = count
  }
  if (weightCache.size >= 64) weightCache.clear()
  weightCache.set(name, weights)
  return weights
}

/** Resizes along one axis: `lines` × `from` pixels to `lines` × `to`, with the given distances between them in elements. */
function resizeAxis(
  source: Uint8Array,
  target: Uint8Array,
  sizes: { lines: number; from: number; to: number },
  strides: { sourceLine: number; sourcePixel: number; targetLine: number; targetPixel: number },
): void {
  const { first, count, values, taps } = weightsFor(sizes.from, sizes.to)
  const half = 1 << (weightBits - 1)
  for (let line = 0; line < sizes.lines; line++) {
    for (let i = 0; i < sizes.to; i++) {
      let at = line * strides.sourceLine + first[i] * strides.sourcePixel
      let r = half
      let g = half
      let b = half
      for (let k = i * taps, end = k + count[i]; k < end; k++, at += strides.sourcePixel) {
        const weight = values[k]
        r += source[at] * weight
        g += source[at + 1] * weight
        b += source[at + 2] * weight
      }
      const to = line * strides.targetLine + i * strides.targetPixel
      target[to] = Math.min(255, Math.max(0, r >> weightBits))
      target[to + 1] = Math.min(255, Math.max(0, g >> weightBits))
      target[to + 2] = Math.min(255, Math.max(0, b >> weightBits))
    }
  }
}

/** Lanczos resize (a = 3, antialiased): columns first, then rows, rounded to 8 bits in between. */
export function resizeLanczos(image: RgbImage, width: number, height: number): RgbImage {
  let { data } = image
  if (width !== image.width) {
    const wide = new Uint8Array(width * image.height * 3)
    resizeAxis(
      data,
      wide,
      { lines: image.height, from: image.width, to: width },
      { sourceLine: image.width * 3, sourcePixel: 3, targetLine: width * 3, targetPixel: 3 },
    )
    data = wide
  }
  if (height !== image.height) {
    const high = new Uint8Array(width * height * 3)
    resizeAxis(
      data,
      high,
      { lines: width, from: image.height, to: height },
      { sourceLine: 3, sourcePixel: width * 3, targetLine: 3, targetPixel: width * 3 },
    )
    data = high
  }
  return { width, height, data }
}

/**
 * Decodes, crops to the middle square and resizes.
 * @returns resolution·resolution·3 bytes, row-major RGB
 * @throws ERR_FILE when the bytes are no image
 */
export async function preprocessImage(bytes: Uint8Array, resolution: number, name?: string): Promise<Uint8Array> {
  if (!Number.isInteger(resolution) || resolution < 1)
    throw new StarError(
      'ERR_ARGUMENT',
      `preprocessImage: resolution is ${resolution}, expected a whole number of pixels`,
    )
  return resizeLanczos(centreCrop(await decodeImage(bytes, name)), resolution, resolution).data
}

const toSigned = Float32Array.from({ length: 256 }, (_, value) => value / 127.5 - 1)

/**
 * A batch of images as model input: x = v/127.5 − 1.
 * @param images n images of resolution²·3 bytes
 * @returns (n, resolution, resolution, 3) f32 in [−1, 1]
 */
export function toTensor(
  images: readonly Uint8Array[],
  resolution: number,
  options: { device?: string; flip?: readonly boolean[] } = {},
): Tensor {
  const size = resolution * resolution * 3
  const batch = new Float32Array(images.length * size)
  images.forEach((pixels, n) => {
    if (pixels.length !== size)
      throw new StarError(
        'ERR_SHAPE',
        `toTensor: image ${n} has ${pixels.length} bytes, expected ${size} (${resolution}×${resolution} RGB)`,
      )
    const start = n * size
    if (!options.flip?.[n]) for (let i = 0; i < size; i++) batch[start + i] = toSigned[pixels[i]]
    else
      for (let y = 0; y < resolution; y++)
        for (let x = 0; x < resolution; x++)
          for (let c = 0; c < 3; c++)
            batch[start + (y * resolution + x) * 3 + c] =
              toSigned[pixels[(y * resolution + resolution - 1 - x) * 3 + c]]
  })
  return Tensor.from(batch, [images.length, resolution, resolution, 3], { device: options.device })
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
