/** Filling what is not known of a picture from what is around it. */

/** One size of the pyramid: colours times their weights, and the weights. */
interface Layer {
  width: number
  height: number
  /** (h, w, 3) */
  colours: Float32Array
  /** (h, w) */
  weights: Float32Array
}

/**
 * Fills a picture by pull and push (Gortler et al. 1996, "The Lumigraph", section 3.4): colours are averaged to ever smaller
 * pictures, known ones only, and where something is missing it is taken from the next smaller one, enlarged. A pixel of weight w
 * becomes w·own + (1 − w)·filled; one of weight 0 has no influence.
 * @param rgb bytes of a picture
 * @param weights how far each pixel is known, from 0 to 1; at least one is not 0
 */
export function fill(
  { width, height, rgb }: { width: number; height: number; rgb: Uint8Array },
  weights: Float32Array,
): Uint8Array {
  return bytesOf(spread({ width, height, colours: Float32Array.from(rgb) }, weights))
}

/**
 * Another picture as it would look at this place: a + filled(b − a), b where it is known. The difference is filled from where b is known, so
 * that there is no seam, and what the other picture shows stays (as Pérez et al. 2003, "Poisson Image Editing", whose harmonic
 * correction is filled here).
 * @param rgb bytes of b
 * @param weights how far each pixel of b is known, from 0 to 1; at least one is not 0
 * @param other bytes of a, of the same size
 */
export function fitted(
  { width, height, rgb }: { width: number; height: number; rgb: Uint8Array },
  weights: Float32Array,
  other: Uint8Array,
): Uint8Array {
  const difference = spread({ width, height, colours: Float32Array.from(rgb, (byte, i) => byte - other[i]) }, weights)
  return bytesOf(difference.map((value, i) => other[i] + value))
}

const bytesOf = (values: Float32Array): Uint8Array =>
  Uint8Array.from(values, (value) => Math.min(255, Math.max(0, Math.round(value))))

/** Values of all pixels, of those that are known. */
function spread(
  { width, height, colours: all }: { width: number; height: number; colours: Float32Array },
  weights: Float32Array,
): Float32Array {
  const colours = all.map((value, i) => value * weights[Math.floor(i / 3)])
  const layers: Layer[] = [{ width, height, colours, weights }]
  for (let top = layers[0]; top.width > 1 || top.height > 1; top = layers[layers.length - 1]) layers.push(pull(top))
  let filled: { width: number; height: number; colours: Float32Array } | null = null
  for (const layer of layers.reverse()) filled = filled ? push(layer, filled) : whole(layer)
  return filled!.colours
}

/** Half the size: sums of up to four pixels, with weights of at most 1. */
function pull({ width, height, colours, weights }: Layer): Layer {
  const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)]
  const smaller = { width: w, height: h, colours: new Float32Array(w * h * 3), weights: new Float32Array(w * h) }
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const to = (y >> 1) * w + (x >> 1)
      smaller.weights[to] += weights[y * width + x]
      for (let c = 0; c < 3; c++) smaller.colours[to * 3 + c] += colours[(y * width + x) * 3 + c]
    }
  for (let i = 0; i < w * h; i++) {
    if (smaller.weights[i] <= 1) continue
    for (let c = 0; c < 3; c++) smaller.colours[i * 3 + c] /= smaller.weights[i]
    smaller.weights[i] = 1
  }
  return smaller
}

/** The smallest picture: one pixel, of all that is known. */
function whole({ width, height, colours, weights: [weight] }: Layer) {
  return { width, height, colours: colours.map((value) => value / weight) }
}

/** Own colours, and for what is missing of their weight those of the smaller picture, enlarged bilinearly. */
function push({ width, height, colours, weights }: Layer, smaller: Omit<Layer, 'weights'>) {
  const filled = colours.slice()
  const near = (x: number, size: number): [number, number, number] => {
    const at = Math.min(size - 1, Math.max(0, (x + 0.5) / 2 - 0.5))
    const low = Math.floor(at)
    return [low, Math.min(size - 1, low + 1), at - low]
  }
  for (let y = 0; y < height; y++) {
    const [top, bottom, down] = near(y, smaller.height)
    for (let x = 0; x < width; x++) {
      const missing = 1 - weights[y * width + x]
      if (missing === 0) continue
      const [left, right, along] = near(x, smaller.width)
      const value = (row: number, column: number, c: number): number =>
        smaller.colours[(row * smaller.width + column) * 3 + c]
      for (let c = 0; c < 3; c++) {
        const upper = value(top, left, c) * (1 - along) + value(top, right, c) * along
        const lower = value(bottom, left, c) * (1 - along) + value(bottom, right, c) * along
        filled[(y * width + x) * 3 + c] += missing * (upper * (1 - down) + lower * down)
      }
    }
  }
  return { width, height, colours: filled }
}
