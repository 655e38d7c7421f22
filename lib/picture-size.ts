/** Which sizes of pictures a model draws, how well it knows them, and which are offered. */
import { z } from 'zod'
import type { ModelInfo } from './engine/model-info.js'
import { gridOf } from './models/grid.js'
import { tokenCount } from './models/star/index.js'
import { downsampling } from './models/tokenizer/index.js'
import { StarError } from './native/index.js'
import type { PictureSize } from './sampling/index.js'

const side = z
  .int()
  .min(1)
  .max(1 << 16)
/** Of pictures, in pixels. */
export const pictureSizeSchema = z.strictObject({
  /** Pixels from left to right. */
  width: side,
  /** Pixels from top to bottom. */
  height: side,
})

/**
 * How far a side may be from that of a picture that the model was trained on: from two thirds to one and a half times of it. Positions
 * are turned by norm/(w − 1) from one column to the next, and attention learnt from the spacing of the training; at half or twice of it
 * neighbours look like what lay two positions or half a one away, and pictures repeat or tear their subject. Of one area this allows
 * ratios up to 9:4.
 */
const farthest = 1.5

const text = ({ width, height }: PictureSize): string => `${width}×${height}`
export const sameSize = (a: PictureSize, b: PictureSize): boolean => a.width === b.width && a.height === b.height

/** The larger of both sides' ratios, from 1. */
const stretch = (a: PictureSize, b: PictureSize): number =>
  Math.max(a.width / b.width, b.width / a.width, a.height / b.height, b.height / a.height)

type Sizes = Pick<ModelInfo, 'name' | 'imageSize' | 'shapes' | 'tokenizer'>

/** Why a size is not drawn, in a line; null where it is. */
export function refusal(size: PictureSize, { name, shapes, tokenizer }: Sizes): string | null {
  const patch = downsampling(tokenizer.config)
  if (size.width % patch !== 0 || size.height % patch !== 0) {
    const near = (pixels: number): number => Math.max(1, Math.round(pixels / patch)) * patch
    return `the size is ${text(size)}, but sides of ${name} are multiples of ${patch} pixels: ask for ${near(size.width)}×${near(size.height)}`
  }
  const nearest = Math.min(...shapes.map((shape) => stretch(size, shape)))
  if (nearest <= farthest) return null
  return (
    `the size is ${text(size)}, too far from what ${name} was trained on (${listed(shapes)}): each side must be from 2/3 to 3/2 of one of ` +
    'these, or train on that shape ("data.buckets")'
  )
}

const listed = (shapes: readonly PictureSize[]): string =>
  `${shapes.slice(0, 8).map(text).join(', ')}${shapes.length > 8 ? ', …' : ''}`

/**
 * The size that a call asks for, checked.
 * @returns undefined for the model's own square, and a line for a size that the model was not trained on
 * @throws ERR_ARGUMENT for one that it does not draw
 */
export function checkedSize(
  size: PictureSize | undefined,
  model: Sizes,
): { size: PictureSize | undefined; notice: string | null } {
  const own = { width: model.imageSize, height: model.imageSize }
  const wanted = size ?? own
  const reason = size && refusal(size, model)
  if (reason) throw new StarError('ERR_ARGUMENT', reason)
  const known = model.shapes.some((shape) => sameSize(shape, wanted))
  const notice = known
    ? null
    : `${model.name} was trained on ${listed(model.shapes)}, not on ${text(wanted)}: the picture may repeat or tear its subject`
  return { size: sameSize(wanted, own) ? undefined : wanted, notice }
}

/** Tokens of a picture, over all scales. */
export function tokensOf({ scales, tokens, tokenizer }: ModelInfo, size: PictureSize | undefined): number {
  const patch = downsampling(tokenizer.config)
  return size ? tokenCount(scales, gridOf(size, patch)) : tokens
}

/** Ratios that are offered where the model draws them, width to height. */
const ratios = [
  [1, 1],
  [5, 4],
  [4, 3],
  [3, 2],
  [16, 9],
] as const

/** Sizes to choose from: those of the training, then usual ratios of about the area of the square. */
export function offeredSizes(model: Sizes): PictureSize[] {
  const patch = downsampling(model.tokenizer.config)
  const whole = (pixels: number): number => Math.round(pixels / patch) * patch
  const made = ratios.flatMap(([a, b]) => {
    const long = whole(model.imageSize * Math.sqrt(a / b))
    const short = whole(model.imageSize * Math.sqrt(b / a))
    return [
      { width: long, height: short },
      { width: short, height: long },
    ]
  })
  return [...model.shapes, ...made].filter(
    (size, i, all) => all.findIndex((other) => sameSize(other, size)) === i && refusal(size, model) === null,
  )
}
