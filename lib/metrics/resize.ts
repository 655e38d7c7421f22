/** How the networks that measure pictures want them resized: as Pillow and PyTorch do it. */
import type { RgbImage } from '../data/index.js'

/**
 * Bilinear interpolation without antialiasing, pixel centres at half integers and borders repeated, as
 * torch.nn.functional.interpolate(align_corners=False) does: of a pixel's four neighbours the weights are products of distances.
 * @param image bytes; they are scaled to [0, 1] before
 * @returns (height, width, 3) in [0, 1], float32
 */
export function bilinear({ width: w, height: h, data }: RgbImage, width: number, height: number): Float32Array {
  const { fround } = Math
  const axis = (from: number, to: number): { low: number; high: number; share: number }[] => {
    const scale = fround(from / to)
    return Array.from({ length: to }, (_, i) => {
      const at = Math.max(0, fround(fround(scale * fround(i + 0.5)) - 0.5))
      const low = Math.min(Math.floor(at), from - 1)
      return { low, high: Math.min(low + 1, from - 1), share: fround(at - low) }
    })
  }
  const columns = axis(w, width)
  const rows = axis(h, height)
  const scaled = Float32Array.from(data, (byte) => byte / 255)
  const result = new Float32Array(height * width * 3)
  let place = 0
  for (const { low: top, high: bottom, share: v } of rows)
    for (const { low: left, high: right, share: u } of columns)
      for (let c = 0; c < 3; c++) {
        const at = (y: number, x: number): number => scaled[3 * (y * w + x) + c]
        const upper = (1 - u) * at(top, left) + u * at(top, right)
        const lower = (1 - u) * at(bottom, left) + u * at(bottom, right)
        result[place++] = (1 - v) * upper + v * lower
      }
  return result
}

/** Keys 1981 with a = −0.5, as Pillow has it. */
function bicubicWeight(distance: number): number {
  const x = Math.abs(distance)
  const a = -0.5
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
}

/** Pillow's weights are whole numbers of 2⁻²². */
const precision = 22

interface Taps {
  begin: number
  weights: Int32Array
}

/** The pixels that an output pixel is made of; where it shrinks, the filter is as much wider. */
function taps(from: number, to: number): Taps[] {
  const scale = from / to
  const stretch = Math.max(scale, 1)
  const support = 2 * stretch
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale
    const begin = Math.max(0, Math.trunc(centre - support + 0.5))
    const end = Math.min(from, Math.trunc(centre + support + 0.5))
    const weights = Float64Array.from({ length: end - begin }, (_, k) =>
      bicubicWeight((begin + k - centre + 0.5) / stretch),
    )
    const sum = weights.reduce((a, b) => a + b, 0)
    return {
      begin,
      weights: Int32Array.from(weights, (w) => {
        const scaled = (w / sum) * 2 ** precision
        return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5)
      }),
    }
  })
}

/** Resizes along an axis, rounding to bytes: `lines` of pixels that are `step` bytes apart, and lines `stride` bytes apart. */
function resizeAxis(
  data: Uint8Array,
  all: readonly Taps[],
  { lines, stride, step, to }: { lines: number; stride: number; step: number; to: { stride: number; step: number } },
): Uint8Array {
  const result = new Uint8ClampedArray(lines * all.length * 3)
  for (let line = 0; line < lines; line++)
    all.forEach(({ begin, weights }, i) => {
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (precision - 1)
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[line * stride + (begin + k) * step + c]
        result[line * to.stride + i * to.step + c] = Math.floor(sum / 2 ** precision)
      }
    })
  return new Uint8Array(result.buffer)
}

/** Bicubic resize with antialiasing, columns first and rounded to bytes in between: Pillow's, bit for bit. */
export function resizeBicubic({ width: w, height: h, data }: RgbImage, width: number, height: number): RgbImage {
  const wide =
    width === w
      ? data
      : resizeAxis(data, taps(w, width), { lines: h, stride: 3 * w, step: 3, to: { stride: 3 * width, step: 3 } })
  const both =
    height === h
      ? wide
      : resizeAxis(wide, taps(h, height), {
          lines: width,
          stride: 3,
          step: 3 * width,
          to: { stride: 3, step: 3 * width },
        })
  return { width, height, data: both }
}

/** Rounds to the nearest whole number, halves to the even one. */
function roundEven(x: number): number {
  const rounded = Math.round(x)
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

/** What CLIP sees of a picture: its shorter side resized to `side`, and the square in the middle. */
export function clipImage(image: RgbImage, side: number): RgbImage {
  const [short, long] = [Math.min(image.width, image.height), Math.max(image.width, image.height)]
  const other = Math.trunc((side * long) / short)
  const [width, height] = image.width <= image.height ? [side, other] : [other, side]
  const resized = resizeBicubic(image, width, height)
  const [left, top] = [roundEven((width - side) / 2), roundEven((height - side) / 2)]
  const data = new Uint8Array(side * side * 3)
  for (let y = 0; y < side; y++) {
    const start = 3 * ((top + y) * width + left)
    data.set(resized.data.subarray(start, start + 3 * side), 3 * side * y)
  }
  return { width: side, height: side, data }
}
