/** The square of a picture that a model sees when it draws a part of it: models draw squares of one size. */
import type { Mask } from './mask.js'
import { byRows, type PixelData } from './raster.js'

/** A square in pixels; it may reach beyond the picture. */
export interface Window {
  left: number
  top: number
  side: number
}

/** A part that takes more of the largest square in the picture than this leaves too little around it to go by. */
const mostOfSquare = 0.75

/**
 * The largest square in the picture with the part that is drawn in its middle, where there is room. Where the part takes too much of
 * it along the longer side, it is the square around the whole picture.
 * @param drawn the mask
 * @param blended the mask with its feathered edge, which is inside where there is room
 */
export async function windowOf(drawn: Mask, blended: Mask): Promise<Window> {
  const { width, height } = drawn
  const [part, wide] = [await extent(drawn), await extent(blended)]
  const longest = width >= height ? part.right - part.left : part.bottom - part.top
  const inner = Math.min(width, height)
  const side = longest <= mostOfSquare * inner ? inner : Math.max(width, height)
  const place = (low: number, high: number, size: number): number =>
    size <= side
      ? Math.floor((size - side) / 2)
      : Math.min(size - side, Math.max(0, Math.floor((low + high - side) / 2)))
  const axis = (own: [number, number], withEdge: [number, number], size: number): number =>
    place(...(withEdge[1] - withEdge[0] > side ? own : withEdge), size)
  return {
    left: axis([part.left, part.right], [wide.left, wide.right], width),
    top: axis([part.top, part.bottom], [wide.top, wide.bottom], height),
    side,
  }
}

/** The smallest box around what is drawn. */
async function extent({ width, height, drawn }: Mask) {
  const box = { left: width, right: 0, top: height, bottom: 0 }
  await byRows(height, width, (y) => {
    for (let x = 0; x < width; x++) {
      if (drawn[y * width + x] === 0) continue
      box.left = Math.min(box.left, x)
      box.right = Math.max(box.right, x + 1)
      box.top = Math.min(box.top, y)
      box.bottom = y + 1
    }
  })
  return box
}

/** Calls `work` for the pixels of the window that are in the picture: place in the picture, and in the window. */
export async function eachPixel(
  { width, height }: { width: number; height: number },
  { left, top, side }: Window,
  work: (from: number, to: number) => void,
): Promise<void> {
  const [firstX, firstY] = [Math.max(0, -left), Math.max(0, -top)]
  const [endX, endY] = [Math.min(side, width - left), Math.min(side, height - top)]
  await byRows(endY - firstY, side, (row) => {
    const y = firstY + row
    for (let x = firstX; x < endX; x++) work((top + y) * width + left + x, y * side + x)
  })
}

/** How far each pixel of the window is kept: as the mask says, and not where there is no picture. */
export async function keptInside(mask: Mask, window: Window): Promise<Float32Array> {
  const kept = new Float32Array(window.side ** 2)
  await eachPixel(mask, window, (from, to) => {
    kept[to] = 1 - mask.drawn[from]
  })
  return kept
}

/** A picture with another one blended into the window: where the mask is 0 its own bytes, where it is 1 those of the other. */
export async function blend(picture: PixelData, inside: Uint8Array, mask: Mask, window: Window): Promise<PixelData> {
  const data = picture.data.slice()
  await eachPixel(picture, window, (from, to) => {
    const share = mask.drawn[from]
    if (share === 0) return
    for (let c = 0; c < 3; c++) {
      const own = data[from * 3 + c]
      data[from * 3 + c] = Math.round(own + share * (inside[to * 3 + c] - own))
    }
  })
  return { width: picture.width, height: picture.height, data }
}
