/** From a picture and what to change of it to what a model is given, and from what it draws to the changed picture. */
import sharp from 'sharp'
import { shown } from '../config/parse-config.js'
import { StarError } from '../native/index.js'
import type { GivenPicture, PictureSize } from '../sampling/index.js'
import { fill, fitted } from './fill.js'
import { checkMask, feathered, type Mask, type MaskSource, openMask, transparentPart } from './mask.js'
import { byRows, openRaster, type PictureSource, type PixelData, pixelLimit, type Raster } from './raster.js'
import { blend, eachPixel, keptInside, type Window, windowOf } from './window.js'

/** How many pixels a picture grows by on each side. */
export interface Extend {
  /** In pixels; default 0. */
  left?: number
  /** In pixels; default 0. */
  right?: number
  /** In pixels; default 0. */
  top?: number
  /** In pixels; default 0. */
  bottom?: number
}

/** Which part of a picture is drawn, and how it joins the rest. */
export interface EditRegion {
  mask?: MaskSource
  extend?: Extend
  feather?: number
  softEdge: boolean
  strength: number
}

/** What a model says of its pictures. */
export interface ModelSizes {
  imageSize: number
  scales: readonly number[]
}

/** A change that a model can draw. */
export interface Change {
  given: GivenPicture
  /**
   * What the model is given where it has drawn a picture of the prompt alone before (R, G, B bytes of its size). Null: nothing of it
   * matters.
   */
  refined: ((drawn: Uint8Array) => GivenPicture) | null
  /** Whether the model draws a square, whatever the shape of the picture. */
  square: boolean
  /** The changed picture, of what the model drew (R, G, B bytes of its size). */
  finish(drawn: Uint8Array): Promise<PixelData>
}

const keptScales = (strength: number, scales: number): number => Math.round((1 - strength) * scales)

/** How often a model of so many scales draws a part that is changed with a strength: twice where none of its scales is kept. */
export const drawingsOf = (strength: number, scales: number): number => (keptScales(strength, scales) > 0 ? 1 : 2)

/**
 * A change of a part of a picture. The model sees a square around that part, at its own size; what is drawn is filled before, so that
 * it has no influence, unless a `strength` below 1 keeps coarse scales of it: by what the model draws of the prompt alone, fitted to the
 * surroundings. With that the first half of the scales is kept, and the others are drawn; what comes out is fitted once more.
 * @throws ERR_ARGUMENT for a mask, an extension or a feather that do not fit, ERR_FILE for files that cannot be read
 */
export async function changePart(source: PictureSource, region: EditRegion, model: ModelSizes): Promise<Change> {
  const { softEdge, strength } = region
  const { picture, mask } = await canvasOf(await openRaster(source, 'the picture'), region)
  await checkMask(mask)
  const { feather = Math.max(2, Math.round(Math.min(mask.width, mask.height) / 64)) } = region
  const blended = await feathered(mask, feather)
  const window = await windowOf(mask, blended)
  const size = model.imageSize
  const kept = keptScales(strength, model.scales.length)
  const around = await seenPixels(picture, mask, window, size)
  if (around.weights.every((weight) => weight === 0))
    throw new StarError(
      'ERR_ARGUMENT',
      `nothing is left of the picture in the square of ${window.side} pixels that the model sees: draw less of it at once`,
    )
  const beyond = await seenPixels(picture, blended, window, size)
  // What fades into the picture is drawn, so it is fitted to what lies beyond, where there is something.
  const edge = beyond.weights.some((weight) => weight > 0) ? beyond : around
  // With coarse scales kept, what is drawn anew stands on what the picture shows there.
  const seen = kept > 0 ? await seenPixels(picture, null, window, size) : around
  const keep = await keptInside(mask, window)
  const base = await rgbOf(picture)
  const given = { pixels: filledIn(seen), keep, keptScales: kept, softEdge }
  return {
    given,
    refined:
      drawingsOf(strength, model.scales.length) === 1
        ? null
        : (drawn) => ({
            ...given,
            pixels: filledIn(around, fitted(around, around.weights, drawn)),
            keptScales: Math.floor(model.scales.length * refinedShare),
          }),
    square: true,
    finish: async (drawn) => {
      const whole = fitted(edge, edge.weights, drawn)
      return blend(base, await resized(whole, size, window.side), blended, window)
    },
  }
}

/** Share of the scales that are kept of the picture that was filled with one of the prompt: its outlines, not its details. */
const refinedShare = 0.5

/**
 * A variation: the largest part in a picture's middle that has the shape drawn, of which the coarsest (1 − strength)·K scales are kept.
 * @param size that is drawn; default: the model's square
 * @throws ERR_ARGUMENT for something that is no picture, ERR_FILE for a file that cannot be read
 */
export async function changeWhole(
  source: PictureSource,
  { strength, size }: { strength: number; size?: PictureSize },
  model: ModelSizes,
): Promise<Change> {
  const picture = await flattened(await openRaster(source, 'the picture'))
  const { width, height } = size ?? { width: model.imageSize, height: model.imageSize }
  const pixels = await middlePart(picture, { width, height })
  return {
    given: { pixels, keep: null, keptScales: keptScales(strength, model.scales.length), softEdge: false },
    refined: null,
    square: width === height,
    finish: async (data) => ({ width, height, data }),
  }
}

/** The largest part of an opaque picture that has the ratio of a size, at that size: R, G, B. */
async function middlePart(picture: Raster, size: PictureSize): Promise<Uint8Array> {
  const scale = Math.min(picture.width / size.width, picture.height / size.height)
  const [width, height] = [size.width, size.height].map((side) => Math.max(1, Math.round(side * scale)))
  const [left, top] = [(picture.width - width) >> 1, (picture.height - height) >> 1]
  const raw = { width: picture.width, height: picture.height, channels: 4 as const }
  const part = sharp(picture.rgba, { raw }).extract({ left, top, width, height })
  return part.removeAlpha().resize(size.width, size.height, resampling).raw().toBuffer()
}

const resampling = { kernel: 'lanczos3', fit: 'fill' } as const

/** The picture with the room it grows by, and what is drawn of it. Pixels that it has not are transparent. */
async function canvasOf(given: Raster, { mask: source, extend }: EditRegion): Promise<{ picture: Raster; mask: Mask }> {
  if (source === undefined && extend === undefined && !given.transparent)
    throw new StarError(
      'ERR_ARGUMENT',
      'nothing says which part of the picture is drawn: give a mask, a box, or by how much it is extended',
    )
  const nothing = { ...given, drawn: new Float32Array(given.width * given.height) }
  const inside =
    source !== undefined ? await openMask(source, given) : given.transparent ? await transparentPart(given) : nothing
  const picture = source !== undefined ? await flattened(given) : given
  if (extend === undefined) return { picture, mask: inside }
  const { left = 0, right = 0, top = 0, bottom = 0 } = extend
  const added = { left, right, top, bottom }
  for (const [name, value] of Object.entries(added))
    if (!Number.isInteger(value) || value < 0)
      throw new StarError('ERR_ARGUMENT', `extend.${name} is ${shown(value)}, expected a whole number of pixels from 0`)
  const [width, height] = [given.width + left + right, given.height + top + bottom]
  if (width * height > pixelLimit)
    throw new StarError(
      'ERR_ARGUMENT',
      `the extended picture would be ${width}×${height}, expected at most ${pixelLimit} pixels: extend it less`,
    )
  const rgba = new Uint8Array(width * height * 4)
  const drawn = new Float32Array(width * height).fill(1)
  await byRows(given.height, width, (y) => {
    const to = (top + y) * width + left
    rgba.set(picture.rgba.subarray(y * given.width * 4, (y + 1) * given.width * 4), to * 4)
    drawn.set(inside.drawn.subarray(y * given.width, (y + 1) * given.width), to)
  })
  return { picture: { width, height, rgba, transparent: true }, mask: { width, height, drawn } }
}

/** On white. */
async function flattened(picture: Raster): Promise<Raster> {
  if (!picture.transparent) return picture
  const { width, height } = picture
  const rgba = picture.rgba.slice()
  await byRows(height, width, (y) => {
    for (let i = 4 * y * width; i < 4 * (y + 1) * width; i += 4) {
      const alpha = rgba[i + 3] / 255
      for (let c = 0; c < 3; c++) rgba[i + c] = Math.round(alpha * rgba[i + c] + (1 - alpha) * 255)
      rgba[i + 3] = 255
    }
  })
  return { ...picture, rgba, transparent: false }
}

async function rgbOf({ width, height, rgba }: Raster): Promise<PixelData> {
  const data = new Uint8Array(width * height * 3)
  await byRows(height, width, (y) => {
    for (let i = y * width; i < (y + 1) * width; i++) for (let c = 0; c < 3; c++) data[i * 3 + c] = rgba[i * 4 + c]
  })
  return { width, height, data }
}

/** A square at the model's size, and how far each pixel is known. */
interface Seen {
  width: number
  height: number
  rgb: Uint8Array
  weights: Float32Array
}

/** What is missing comes from another picture, or is filled from the rest. */
function filledIn(seen: Seen, other?: Uint8Array): Uint8Array {
  const { rgb, weights } = seen
  if (weights.every((weight) => weight === 1)) return rgb
  if (!other) return fill(seen, weights)
  return rgb.map((byte, i) => Math.round(other[i] + weights[Math.floor(i / 3)] * (byte - other[i])))
}

/** The window at the model's size; what a mask draws and what is transparent is not known. */
async function seenPixels(picture: Raster, mask: Mask | null, window: Window, size: number): Promise<Seen> {
  const { side } = window
  const part = new Uint8Array(side * side * 4)
  await eachPixel(picture, window, (from, to) => {
    for (let c = 0; c < 3; c++) part[4 * to + c] = picture.rgba[4 * from + c]
    part[4 * to + 3] = Math.round(picture.rgba[4 * from + 3] * (1 - (mask?.drawn[from] ?? 0)))
  })
  // Colours are weighted by alpha while the size changes, so that what is missing does not bleed into the rest.
  const rgba = await resize(part, 4, side, size)
  const rgb = Uint8Array.from({ length: size * size * 3 }, (_, i) => rgba[Math.floor(i / 3) * 4 + (i % 3)])
  const weights = Float32Array.from({ length: size * size }, (_, i) => rgba[i * 4 + 3] / 255)
  return { width: size, height: size, rgb, weights }
}

const resized = (rgb: Uint8Array, from: number, to: number): Promise<Uint8Array> => resize(rgb, 3, from, to)

/** A square picture at another size, by Lanczos. */
async function resize(data: Uint8Array, channels: 3 | 4, from: number, to: number): Promise<Uint8Array> {
  if (from === to) return data
  return sharp(data, { raw: { width: from, height: from, channels } })
    .resize(to, to, resampling)
    .raw()
    .toBuffer()
}
