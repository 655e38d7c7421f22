/** One pictogram as a square picture on white, and what tells it from others. */
import sharp from 'sharp'
import { StarError } from '../../native/error.js'

/** White at each side of the longer side, as a part of the picture. */
const margin = 0.06
/** Small drawings are enlarged by this much at most, so that a dot stays a dot. */
const largestZoom = 1.6
/** Pixels with less opacity are outside. */
const leastAlpha = 12
const signatureSide = 32

export interface RenderedIcon {
  /** PNG, size × size, RGB. */
  image: Buffer
  /** 32·32·3 bytes: the picture made small, to compare it with others. */
  signature: Uint8Array
  monochrome: boolean
}

interface Box {
  left: number
  top: number
  width: number
  height: number
}

/** The smallest box that holds all that can be seen; null where nothing can. */
function visibleBox(rgba: Uint8Array, width: number, height: number): Box | null {
  let [left, top, right, bottom] = [width, height, -1, -1]
  for (let y = 0, i = 3; y < height; y++)
    for (let x = 0; x < width; x++, i += 4) {
      if (rgba[i] < leastAlpha) continue
      left = Math.min(left, x)
      right = Math.max(right, x)
      top = Math.min(top, y)
      bottom = y
    }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 }
}

/** Longer side at which an SVG is drawn before it is made small. */
const drawnSide = 512

/** Dots an inch at which an SVG has `drawnSide`; other formats have pixels of their own. */
async function densityFor(input: Uint8Array): Promise<number> {
  const { format, width, height } = await sharp(input).metadata()
  const side = Math.max(width, height)
  return format === 'svg' ? Math.min(Math.max((72 * drawnSide) / side, 1), 100_000) : 72
}

/**
 * Draws an SVG, or a picture with transparency, cut to what can be seen, centred on white.
 * @throws ERR_FILE when it cannot be drawn, or nothing can be seen
 */
export async function renderIcon(input: Uint8Array, name: string, size: number): Promise<RenderedIcon> {
  try {
    const { data, info } = await sharp(input, { density: await densityFor(input) })
      .toColourspace('srgb')
      .ensureAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true })
    const box = visibleBox(data, info.width, info.height)
    if (!box) throw new Error('nothing can be seen')
    const natural = size / Math.max(info.width, info.height)
    const fitting = (size * (1 - 2 * margin)) / Math.max(box.width, box.height)
    const scale = Math.min(fitting, natural * largestZoom)
    const width = Math.max(1, Math.round(box.width * scale))
    const height = Math.max(1, Math.round(box.height * scale))
    const [left, top] = [Math.floor((size - width) / 2), Math.floor((size - height) / 2)]
    const drawn = await sharp(data, { raw: { width: info.width, height: info.height, channels: 4 } })
      .extract(box)
      .resize(width, height, { fit: 'fill', kernel: 'lanczos3' })
      .flatten({ background: '#ffffff' })
      .extend({ left, top, right: size - width - left, bottom: size - height - top, background: '#ffffff' })
      .raw()
      .toBuffer()
    const raw = { width: size, height: size, channels: 3 as const }
    return {
      image: await sharp(drawn, { raw }).png({ compressionLevel: 6 }).toBuffer(),
      signature: await sharp(drawn, { raw }).resize(signatureSide, signatureSide).raw().toBuffer(),
      monochrome: isMonochrome(drawn),
    }
  } catch (error) {
    throw new StarError('ERR_FILE', `${name} does not render (${(error as Error).message.trim()})`, { cause: error })
  }
}

/**
 * Whether a picture is a silhouette, or nearly white: hardly a pixel has a hue, and one shade of grey covers nearly all that
 * is drawn, or hardly anything is darker than white. Drawings of grey things with shading are not.
 */
function isMonochrome(rgb: Uint8Array): boolean {
  const shades = new Uint32Array(16)
  let [drawn, coloured, visible] = [0, 0, 0]
  for (let i = 0; i < rgb.length; i += 3) {
    const [r, g, b] = [rgb[i], rgb[i + 1], rgb[i + 2]]
    const [low, high] = [Math.min(r, g, b), Math.max(r, g, b)]
    if (low > 250) continue
    drawn++
    if (low < 225) visible++
    if (high - low > 24) coloured++
    shades[high >> 4]++
  }
  if (coloured >= 0.02 * drawn && drawn > 0) return false
  return visible < 0.05 * (rgb.length / 3) || Math.max(...shades) > 0.82 * drawn
}

/** Mean absolute difference of two signatures, 0 to 255. */
export function signatureDistance(a: Uint8Array, b: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i])
  return sum / a.length
}
