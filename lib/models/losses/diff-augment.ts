/**
 * Differentiable augmentation (Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training"): what a
 * discriminator sees is changed at random, real pictures and reconstructions alike, so that it cannot learn few pictures by heart; the
 * gradient passes to the picture as it was.
 */
import {
  add,
  areaPool,
  concat,
  embedding,
  full,
  matmul,
  mul,
  type Random,
  reshape,
  type Share,
  scope,
  Tensor,
  zeros,
} from '../../tensor/index.js'
import type { Augmentation } from './config.js'

/** What is done to one picture. Shifts and places are shares of the side. */
export interface AugmentDraw {
  /** Added to all values, from −0.5 to 0.5. */
  brightness: number
  /** Factor of the distance to grey, from 0 to 2. */
  saturation: number
  /** Factor of the distance to the picture's mean, from 0.5 to 1.5. */
  contrast: number
  /** Rows and columns, from −1/8 to 1/8 of the side. */
  shift: readonly [number, number]
  /** Centre of the square of half the side that is left out, from 0 to 1. */
  cutout: readonly [number, number]
}

const drawsPerPicture = 7

/** Draws for the pictures [begin, end) of a batch; `random` is left where all pictures of the batch have drawn. */
export function drawAugmentations({ total, begin, end }: Share, random: Random): AugmentDraw[] {
  random.skip(drawsPerPicture * begin)
  const draws = Array.from({ length: end - begin }, (): AugmentDraw => {
    const between = (low: number, high: number): number => low + (high - low) * random.next()
    return {
      brightness: between(-0.5, 0.5),
      saturation: between(0, 2),
      contrast: between(0.5, 1.5),
      shift: [between(-1 / 8, 1 / 8), between(-1 / 8, 1 / 8)],
      cutout: [between(0, 1), between(0, 1)],
    }
  })
  random.skip(drawsPerPicture * (total - end))
  return draws
}

/** One number a picture, (n, 1, 1, 1). */
const perPicture = (numbers: readonly number[], device: string): Tensor =>
  Tensor.from(Float32Array.from(numbers), [numbers.length, 1, 1, 1], { device })

/** Brightness, then saturation, then contrast: x + b; s·x + (1 − s)·grey(x); c·x + (1 − c)·mean(x). */
function colour(images: Tensor, draws: readonly AugmentDraw[]): Tensor {
  const { device } = images
  const third = full([3, 1], 1 / 3, { device })
  /** (1 − factor)·average + factor·x, average of one channel. */
  const away = (x: Tensor, average: Tensor, factors: readonly number[]): Tensor => {
    const rest = mul(
      average,
      perPicture(
        factors.map((f) => 1 - f),
        device,
      ),
    )
    return add(mul(x, perPicture(factors, device)), rest)
  }
  const bright = add(
    images,
    perPicture(
      draws.map((d) => d.brightness),
      device,
    ),
  )
  const grey = matmul(bright, third) // (n, h, w, 1)
  const saturated = away(
    bright,
    grey,
    draws.map((d) => d.saturation),
  )
  const mean = matmul(areaPool(saturated, 1, 1), third) // (n, 1, 1, 1)
  return away(
    saturated,
    mean,
    draws.map((d) => d.contrast),
  )
}

/** For each pixel of the result the pixel of the batch that it shows, n·h·w where it shows none. */
function pixelSources(
  [n, h, w]: readonly number[],
  draws: readonly AugmentDraw[],
  { translation, cutout }: { translation: boolean; cutout: boolean },
): Int32Array {
  const sources = new Int32Array(n * h * w).fill(n * h * w)
  draws.forEach((draw, i) => {
    const [down, right] = translation ? [Math.round(draw.shift[0] * h), Math.round(draw.shift[1] * w)] : [0, 0]
    const [top, left] = [Math.floor(draw.cutout[0] * h) - (h >> 2), Math.floor(draw.cutout[1] * w) - (w >> 2)]
    const cut = (y: number, x: number): boolean =>
      cutout && y >= top && y < top + (h >> 1) && x >= left && x < left + (w >> 1)
    for (let y = Math.max(0, down); y < Math.min(h, h + down); y++)
      for (let x = Math.max(0, right); x < Math.min(w, w + right); x++)
        if (!cut(y, x)) sources[(i * h + y) * w + x] = (i * h + y - down) * w + x - right
  })
  return sources
}

/** Translation and cutout in one gather of pixels; what is uncovered is 0. */
function move(images: Tensor, sources: Int32Array): Tensor {
  const [n, h, w, c] = images.shape
  const table = concat([reshape(images, [n * h * w, c]), zeros([1, c], { device: images.device })], 0)
  return embedding(table, Tensor.from(sources, [n, h, w], { device: images.device }))
}

/**
 * Images changed by what was drawn for each, in the order colour, translation, cutout.
 * @param images (n, h, w, 3) in [−1, 1]
 * @param draws one a picture
 */
export function augment(images: Tensor, draws: readonly AugmentDraw[], kinds: readonly Augmentation[]): Tensor {
  return scope(() => {
    const [translation, cutout] = [kinds.includes('translation'), kinds.includes('cutout')]
    const coloured = kinds.includes('colour') ? colour(images, draws) : images
    return translation || cutout ? move(coloured, pixelSources(images.shape, draws, { translation, cutout })) : coloured
  })
}
