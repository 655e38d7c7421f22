/** Pictures and masks as callers give them, read into bytes. */
import { readFile } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import sharp from 'sharp'
import { shown } from '../config/parse-config.js'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'

/** Pixels in memory: R, G, B bytes of each, row by row from the top. A `StarImage` is one. */
export interface PixelData {
  /** In pixels. */
  width: number
  /** In pixels. */
  height: number
  /** Bytes of all pixels. */
  data: Uint8Array
}

/** A picture: the path of a file, the bytes of one (PNG, JPEG, WebP, AVIF), or pixels. */
export type PictureSource = string | Uint8Array | PixelData

/** A picture that was read. */
export interface Raster {
  width: number
  height: number
  /** R, G, B, A bytes of each pixel. */
  rgba: Uint8Array
  /** Some pixel is not opaque. */
  transparent: boolean
}

/** Most pixels of a picture. */
export const pixelLimit = 4096 * 4096

/** Pixels that are worked on before others have their turn: a few milliseconds. */
const chunk = 1 << 15

/** Calls `work` for 0 to count − 1, each of them `size` pixels, and gives way to the event loop now and then. */
export async function byRows(count: number, size: number, work: (i: number) => void): Promise<void> {
  const together = Math.max(1, Math.floor(chunk / size))
  for (let i = 0; i < count; i++) {
    if (i > 0 && i % together === 0) await setImmediate()
    work(i)
  }
}

const isPixelData = (value: unknown): value is PixelData =>
  typeof value === 'object' && value !== null && 'width' in value && 'height' in value && 'data' in value

/**
 * Reads a picture; that of a camera is turned as its file says.
 * @param what what it is called in messages
 * @throws ERR_ARGUMENT for something else, or too many pixels, ERR_FILE for a file that cannot be read
 */
export async function openRaster(source: PictureSource, what: string): Promise<Raster> {
  if (typeof source === 'string') {
    const bytes = await readFile(source).catch((error) => {
      throw fileError('read', source, error)
    })
    return decoded(bytes, source)
  }
  if (source instanceof Uint8Array) return decoded(source, what)
  if (!isPixelData(source))
    throw new StarError(
      'ERR_ARGUMENT',
      `${what} is ${shown(source)}, expected the path of a file, its bytes, or pixels ({ width, height, data })`,
    )
  return ofPixels(source, what)
}

async function decoded(bytes: Uint8Array, name: string): Promise<Raster> {
  try {
    const picture = sharp(bytes, { limitInputPixels: pixelLimit, autoOrient: true })
    const { data, info } = await picture.toColourspace('srgb').ensureAlpha().raw().toBuffer({ resolveWithObject: true })
    return { width: info.width, height: info.height, rgba: data, transparent: await hasTransparency(data) }
  } catch (cause) {
    throw new StarError(
      'ERR_FILE',
      `${name} is no picture that can be read: give a PNG, JPEG, WebP or AVIF of at most ${pixelLimit} pixels`,
      { cause },
    )
  }
}

async function hasTransparency(rgba: Uint8Array): Promise<boolean> {
  let found = false
  await byRows(rgba.length / 4, 1, (i) => {
    if (rgba[i * 4 + 3] < 255) found = true
  })
  return found
}

async function ofPixels({ width, height, data }: PixelData, what: string): Promise<Raster> {
  checkSizes(what, { width, height, data }, 3)
  const rgba = new Uint8Array(width * height * 4)
  await byRows(height, width, (y) => {
    for (let i = y * width; i < (y + 1) * width; i++) {
      for (let c = 0; c < 3; c++) rgba[i * 4 + c] = data[i * 3 + c]
      rgba[i * 4 + 3] = 255
    }
  })
  return { width, height, rgba, transparent: false }
}

/** @throws ERR_ARGUMENT for sizes that are no sizes, or that the bytes do not fit */
export function checkSizes(what: string, { width, height, data }: PixelData, channels: number): void {
  const sizes = [width, height].every((side) => Number.isInteger(side) && side >= 1) && width * height <= pixelLimit
  if (sizes && data instanceof Uint8Array && data.length === width * height * channels) return
  throw new StarError(
    'ERR_ARGUMENT',
    `${what} has ${shown(width)}×${shown(height)} pixels and ${data?.length ?? 'no'} bytes, expected whole numbers, at most ${pixelLimit} pixels, and ${channels === 1 ? 'a byte' : `${channels} bytes`} each`,
  )
}
