/**
 * What augmentation does to a record: a bounded number of versions of each, drawn from the record's content and the number of
 * the version alone. So a version is the same in every epoch, run and process, and what is made of it can be cached.
 */
import { philox } from '../../tensor/index.js'
import { type BackgroundName, backgroundNames, hueNames } from './colours.js'

export interface AugmentOptions {
  /** Versions of a record; number 0 is the record as it is. */
  variants: number
  /** Largest shift to each side, as a part of width and height. */
  shift: number
  /** Least size, as a part of width and height. */
  scale: number
  /** Chance of a version to be mirrored left to right, where no caption speaks of sides or of writing. */
  flip: number
  /** Chance of a version to stand on a coloured background. */
  background: number
  /** Chance of a version to have another hue. */
  hue: number
}

export interface Plan {
  /** Size as a part of width and height. */
  scale: number
  /** Shifts as parts of width and height. */
  dx: number
  dy: number
  mirrored: boolean
  background: { name: BackgroundName; shade: readonly [number, number, number] } | null
  /** Name of the new hue; where the picture has it already, the next in `hueNames`. */
  hue: (typeof hueNames)[number] | null
}

/** Words in captions that a mirrored picture would belie. */
const sides =
  /\b(left|right)(wards?|ward|most|hand|-hand|-facing|-pointing)?\b|clockwise\b|\b(east|west)(ern|ward)?\b|\b(letters?|numbers?|digits?|text|words?|writing|written|sign|signs|clocks?|watch|calendars?|newspapers?|banknotes?|receipts?|keyboards?|rulers?|maps?|globes?|flags?|notes?|score|medals?)\b/i

/** Whether a picture with these captions may be mirrored. */
export const mayMirror = (captions: readonly string[]): boolean => !captions.some((caption) => sides.test(caption))

/** The place in a list that a draw in [0, 1) falls on. */
const pick = <T>(list: readonly T[], draw: number): T => list[Math.floor(draw * list.length)]

/**
 * The plan of a version; null for number 0.
 * @param content hash of the record, 8 bytes at least
 */
export function planOf(
  content: Buffer,
  variant: number,
  captions: readonly string[],
  options: AugmentOptions,
): Plan | null {
  if (variant === 0) return null
  // Twelve draws whatever the options, so that one of them changed leaves the others alone.
  const [low, high] = [content.readUInt32LE(0), content.readUInt32LE(4)]
  const draws = [0, 1, 2].flatMap((block) => philox(low, high, 3 * variant + block)).map((bits) => bits / 2 ** 32)
  const [size, x, y, flip, behind, behindName, r, g, b, hue, hueName] = draws
  const jitter = (draw: number) => Math.round(24 * draw - 12)
  return {
    scale: 1 - size * (1 - options.scale),
    dx: (2 * x - 1) * options.shift,
    dy: (2 * y - 1) * options.shift,
    mirrored: flip < options.flip && mayMirror(captions),
    background:
      behind < options.background
        ? { name: pick(backgroundNames, behindName), shade: [jitter(r), jitter(g), jitter(b)] }
        : null,
    hue: hue < options.hue ? pick(hueNames, hueName) : null,
  }
}
