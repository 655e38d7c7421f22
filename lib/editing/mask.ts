/** Masks: which part of a picture is drawn, as an image, as bytes or as a box, and its feathered edge. */
import { shown } from '../config/parse-config.js'
import { StarError } from '../native/index.js'
import { byRows, checkSizes, openRaster, type PixelData, type Raster } from './raster.js'

/** A rectangle in pixels, from the left and the top. */
export interface Box {
  /** Left edge. */
  x: number
  /** Upper edge. */
  y: number
  /** In pixels. */
  width: number
  /** In pixels. */
  height: number
}

/**
 * What is drawn of a picture: a file of the picture's size (its path or bytes), in which the transparent part is drawn, or the white
 * part where all of it is opaque; a box; or a byte for each pixel in memory, 255 where it is drawn.
 */
export type MaskSource = string | Uint8Array | Box | PixelData

/** How far each pixel is drawn: from 0 (kept) to 1, row by row. */
export interface Mask {
  width: number
  height: number
  drawn: Float32Array
}

const size = ({ width, height }: { width: number; height: number }): string => `${width}×${height}`

/**
 * Reads a mask for a picture of a size.
 * @throws ERR_ARGUMENT for one of another size, a box that is none or not in the picture, ERR_FILE for a file that cannot be read
 */
export async function openMask(source: MaskSource, picture: { width: number; height: number }): Promise<Mask> {
  if (typeof source === 'object' && source !== null && 'x' in source) return boxMask(source, picture)
  const inMemory = typeof source === 'object' && source !== null && 'data' in source
  if (inMemory) checkSizes('the mask', source, 1)
  const raster = inMemory ? null : await openRaster(source as string | Uint8Array, 'the mask')
  const given = raster ?? (source as PixelData)
  if (given.width !== picture.width || given.height !== picture.height)
    throw new StarError(
      'ERR_ARGUMENT',
      `the mask is ${size(given)}, the picture ${size(picture)} pixels: give a mask of the picture’s size`,
    )
  return maskOf(picture, raster ? shareOf(raster) : (i) => (source as PixelData).data[i] / 255)
}

/** A mask of so many pixels by the drawn share of each. */
async function maskOf(
  { width, height }: { width: number; height: number },
  value: (i: number) => number,
): Promise<Mask> {
  const drawn = new Float32Array(width * height)
  await byRows(height, width, (y) => {
    for (let i = y * width; i < (y + 1) * width; i++) drawn[i] = value(i)
  })
  return { width, height, drawn }
}

/** Drawn share of a pixel: by transparency where there is some, else by brightness (weights of Rec. 601). */
const shareOf = ({ rgba, transparent }: Raster): ((i: number) => number) =>
  transparent
    ? (i) => 1 - rgba[4 * i + 3] / 255
    : (i) => Math.round(0.299 * rgba[4 * i] + 0.587 * rgba[4 * i + 1] + 0.114 * rgba[4 * i + 2]) / 255

/** The transparent part of a picture. */
export const transparentPart = (picture: Raster): Promise<Mask> => maskOf(picture, shareOf(picture))

function boxMask(box: Box, picture: { width: number; height: number }): Mask {
  const { x, y, width, height } = box
  const whole = [x, y, width, height].every((n) => Number.isInteger(n) && n >= 0) && width >= 1 && height >= 1
  if (!whole || x + width > picture.width || y + height > picture.height)
    throw new StarError(
      'ERR_ARGUMENT',
      `the box is x ${shown(x)}, y ${shown(y)}, width ${shown(width)}, height ${shown(height)}, expected whole numbers of a part of the picture’s ${size(picture)} pixels`,
    )
  const drawn = new Float32Array(picture.width * picture.height)
  for (let row = y; row < y + height; row++) drawn.fill(1, row * picture.width + x, row * picture.width + x + width)
  return { width: picture.width, height: picture.height, drawn }
}

/** @throws ERR_ARGUMENT where nothing is drawn, or nothing is kept */
export async function checkMask({ width, height, drawn }: Mask): Promise<void> {
  let [some, kept] = [false, false]
  await byRows(height, width, (y) => {
    for (let i = y * width; i < (y + 1) * width; i++) {
      if (drawn[i] > 0) some = true
      if (drawn[i] < 1) kept = true
    }
  })
  if (!some)
    throw new StarError(
      'ERR_ARGUMENT',
      'the mask is empty: make the part that is to be drawn transparent, or white in a picture without transparency',
    )
  if (!kept)
    throw new StarError(
      'ERR_ARGUMENT',
      'the mask covers the whole picture, so that nothing of it is left: draw a new one ("star sample", star.generate)',
    )
}

/**
 * The drawn share with an edge that fades out over so many pixels beyond the mask: max(drawn, 1 − d/(radius + 1)), d the distance
 * to the nearest pixel that is drawn whole. It is 0 from a distance of radius + 1 on.
 */
export async function feathered({ width, height, drawn }: Mask, radius: number): Promise<Mask> {
  if (radius === 0) return { width, height, drawn }
  const squares = await squaredDistances({ width, height, drawn }, radius + 1)
  const shares = new Float32Array(width * height)
  await byRows(height, width, (y) => {
    for (let i = y * width; i < (y + 1) * width; i++)
      shares[i] = Math.max(drawn[i], 1 - Math.sqrt(squares[i]) / (radius + 1), 0)
  })
  return { width, height, drawn: shares }
}

/** Squared Euclidean distance of each pixel to the nearest one that is drawn whole; what is further than `reach` may be Infinity. */
async function squaredDistances({ width, height, drawn }: Mask, reach: number): Promise<Float32Array> {
  const far = Math.ceil(reach)
  // Along columns first, then along rows over the columns in reach.
  const vertical = new Float32Array(width * height).fill(Number.POSITIVE_INFINITY)
  await byRows(width, 2 * height, (x) => {
    for (const [from, step] of [
      [0, 1],
      [height - 1, -1],
    ]) {
      let distance = Number.POSITIVE_INFINITY
      for (let n = 0, y = from; n < height; n++, y += step) {
        const i = y * width + x
        distance = drawn[i] === 1 ? 0 : distance + 1
        if (distance <= far) vertical[i] = Math.min(vertical[i], distance)
      }
    }
  })
  const squares = new Float32Array(width * height).fill(Number.POSITIVE_INFINITY)
  await byRows(height, width * (1 + far), (y) => {
    for (let x = 0; x < width; x++) {
      const d = vertical[y * width + x]
      if (d === Number.POSITIVE_INFINITY) continue
      for (let to = Math.max(0, x - far); to <= Math.min(width - 1, x + far); to++) {
        const i = y * width + to
        squares[i] = Math.min(squares[i], d * d + (to - x) ** 2)
      }
    }
  })
  return squares
}
