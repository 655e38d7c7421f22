/** Changes of 8-bit RGB pixels, three bytes each, row-major: the hue of a thing, and what lies behind it. */
import type { PictureSize } from '../buckets.js'
import { type ColourName, colourName, mainColour } from '../colour.js'
import { type HueName, hues } from './colours.js'

/** Pixels with all channels at least this count as white: a resize leaves ripples beside dark edges. */
const white = 246

/** Whether the border of a window of a picture is white, but for a pixel in fifty. */
export function hasWhiteEdge(
  rgb: Uint8Array,
  width: number,
  [left, top, w, h]: readonly [number, number, number, number],
): boolean {
  let [edge, plain] = [0, 0]
  const see = (x: number, y: number): void => {
    const i = 3 * ((top + y) * width + left + x)
    edge++
    if (Math.min(rgb[i], rgb[i + 1], rgb[i + 2]) >= white) plain++
  }
  for (let x = 0; x < w; x++) {
    see(x, 0)
    see(x, h - 1)
  }
  for (let y = 1; y < h - 1; y++) {
    see(0, y)
    see(w - 1, y)
  }
  return plain >= 0.98 * edge
}

/** Pixels joined to the border by white ones, 1; all others, 0. */
function outside(rgb: Uint8Array, { width, height }: PictureSize): Uint8Array {
  const mask = new Uint8Array(width * height)
  const stack: number[] = []
  const visit = (p: number): void => {
    if (mask[p] || Math.min(rgb[3 * p], rgb[3 * p + 1], rgb[3 * p + 2]) < white) return
    mask[p] = 1
    stack.push(p)
  }
  for (let x = 0; x < width; x++) for (const p of [x, (height - 1) * width + x]) visit(p)
  for (let y = 0; y < height; y++) for (const p of [y * width, y * width + width - 1]) visit(p)
  for (let p = stack.pop(); p !== undefined; p = stack.pop()) {
    const x = p % width
    if (x > 0) visit(p - 1)
    if (x < width - 1) visit(p + 1)
    if (p >= width) visit(p - width)
    if (p < width * (height - 1)) visit(p + width)
  }
  return mask
}

/** The smallest box around what is not white outside: [left, top, right, bottom], inclusive; null where all is. */
export function boxOfThing(rgb: Uint8Array, { width, height }: PictureSize): [number, number, number, number] | null {
  let [left, top, right, bottom] = [width, height, -1, -1]
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i += 3) {
      if (Math.min(rgb[i], rgb[i + 1], rgb[i + 2]) >= white) continue
      left = Math.min(left, x)
      right = Math.max(right, x)
      top = Math.min(top, y)
      bottom = y
    }
  return right < 0 ? null : [left, top, right, bottom]
}

const darkness = (rgb: Uint8Array, p: number): number => 765 - rgb[3 * p] - rgb[3 * p + 1] - rgb[3 * p + 2]

/** Of the rim of a thing so much may be nearly white: more, and one cannot tell where the thing ends. */
const mostPale = 0.15
const paleness = 90
/** Of a thing so much may be enclosed white, which may be a hole or a part of it. */
const mostEnclosed = 0.15
const rim = 2

/**
 * Opacity of each pixel of a thing on white, 0 to 1; null where that cannot be told: a thing that is white itself, or has holes.
 * A pixel p at the rim is a mixture α·f + (1 − α)·white of the thing's own colour f, that of the darkest pixel near it.
 */
export function opacityOnWhite(rgb: Uint8Array, size: PictureSize): Float32Array | null {
  const { width, height } = size
  const mask = outside(rgb, size)
  const alpha = new Float32Array(width * height)
  let [thing, enclosed, edge, pale] = [0, 0, 0, 0]
  for (let p = 0; p < mask.length; p++) {
    if (mask[p]) continue
    alpha[p] = 1
    thing++
    if (darkness(rgb, p) < 3 * (255 - white)) enclosed++
    const [x, y] = [p % width, Math.floor(p / width)]
    let [near, darkest] = [false, 0]
    for (let v = Math.max(0, y - rim); v <= Math.min(height - 1, y + rim); v++)
      for (let u = Math.max(0, x - rim); u <= Math.min(width - 1, x + rim); u++) {
        const q = v * width + u
        if (mask[q]) near = true
        else darkest = Math.max(darkest, darkness(rgb, q))
      }
    if (!near) continue
    edge++
    if (darkest < paleness) pale++
    alpha[p] = Math.min(1, darkness(rgb, p) / Math.max(1, darkest))
  }
  if (thing === 0 || enclosed > mostEnclosed * thing || pale > mostPale * edge) return null
  return alpha
}

/** Puts a colour behind a thing on white: p + (1 − α)·(colour − white). Changes `rgb`. */
export function paintBackground(rgb: Uint8Array, alpha: Float32Array, colour: readonly number[]): void {
  for (let p = 0; p < alpha.length; p++) {
    const through = 1 - alpha[p]
    if (through === 0) continue
    for (let c = 0; c < 3; c++) {
      const value = rgb[3 * p + c] + through * (colour[c] - 255)
      rgb[3 * p + c] = Math.max(0, Math.min(255, Math.round(value)))
    }
  }
}

/** Hue in degrees and chroma of a pixel. */
function hueOf(r: number, g: number, b: number): [number, number] {
  const high = Math.max(r, g, b)
  const chroma = high - Math.min(r, g, b)
  if (chroma === 0) return [0, 0]
  if (high === r) return [60 * (((g - b) / chroma + 6) % 6), chroma]
  return [60 * (high === g ? (b - r) / chroma + 2 : (r - g) / chroma + 4), chroma]
}

/** Channel n of HSL: l − s·min(l, 1 − l)·max(−1, min(k − 3, 9 − k, 1)), k = (n + h/30) mod 12. */
function fromHsl(h: number, amplitude: number, l: number, n: number): number {
  const k = (n + h / 30) % 12
  return Math.round(255 * (l - amplitude * Math.max(-1, Math.min(k - 3, 9 - k, 1))))
}

/** The colour that clearly prevails in a thing on white, if it is one of the hues; null else. */
export function prevailingHue(rgb: Uint8Array): HueName | null {
  const main = mainColour(rgb)
  return main && main.name in hues && main.share >= 0.5 && main.next <= 0.35 * main.share
    ? (main.name as HueName)
    : null
}

/** Degrees around the mean hue of the prevailing colour that turn with it. */
const turning = 40

/**
 * Turns the hue of what has the prevailing colour, keeping saturation and lightness (HSL).
 * @returns the picture in its new colour; null where people would not call it so
 */
export function turnHue(rgb: Uint8Array, from: HueName, to: HueName): Uint8Array | null {
  let [x, y] = [0, 0]
  for (let i = 0; i < rgb.length; i += 3) {
    const name: ColourName | null = colourName(rgb[i], rgb[i + 1], rgb[i + 2])
    if (name !== from) continue
    const [hue, chroma] = hueOf(rgb[i], rgb[i + 1], rgb[i + 2])
    x += chroma * Math.cos((hue * Math.PI) / 180)
    y += chroma * Math.sin((hue * Math.PI) / 180)
  }
  const mean = ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360
  const turned = Uint8Array.from(rgb)
  for (let i = 0; i < rgb.length; i += 3) {
    const [r, g, b] = [rgb[i], rgb[i + 1], rgb[i + 2]]
    const [hue, chroma] = hueOf(r, g, b)
    const away = Math.abs(((hue - mean + 540) % 360) - 180)
    if (chroma === 0 || away > turning) continue
    const l = (Math.max(r, g, b) + Math.min(r, g, b)) / 510
    const target = (hue - mean + hues[to] + 720) % 360
    const amplitude = chroma / 510
    for (let c = 0; c < 3; c++) turned[i + c] = fromHsl(target, amplitude, l, [0, 8, 4][c])
  }
  const now = mainColour(turned)
  return now?.name === to && now.share >= 0.45 ? turned : null
}
