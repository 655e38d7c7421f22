/** Makes versions of records: pixels, and the captions that are true of them. */
import { createHash } from 'node:crypto'
import { native } from '../../native/index.js'
import type { PictureSize } from '../buckets.js'
import { centreWindow, decodeImage } from '../preprocess.js'
import { cacheKeyBytes, contentKey } from '../record-cache.js'
import { captionsOnBackground, recolouredCaptions } from './captions.js'
import { type BackgroundName, backgroundNames, backgrounds, type HueName, hueNames } from './colours.js'
import { boxOfThing, hasWhiteEdge, opacityOnWhite, paintBackground, prevailingHue, turnHue } from './pixels.js'
import { type AugmentOptions, type Plan, planOf } from './plan.js'

/** Part of the keys: versions that are made in another way have another number. */
const format = 'star-augment-1'
/** Versions whose captions are remembered. */
const remembered = 1 << 18

/** A version of a record that is not made yet. */
export interface Version {
  /** Key of the pixels in a cache. */
  key: Buffer
  /** Null: the record as it is. */
  plan: Plan | null
  captions: readonly string[]
  /** Of its picture. */
  size: PictureSize
}

/** What of the plan could be done truly. */
interface Changes {
  hue: { from: HueName; to: HueName } | null
  background: BackgroundName | null
}

export interface MadeVersion {
  /** height·width·3 bytes, row-major RGB. */
  pixels: Uint8Array
  captions: readonly string[]
}

const nextOf = <T>(list: readonly T[], item: T): T => list[(list.indexOf(item) + 1) % list.length]

export class Augmenter {
  readonly options: AugmentOptions
  /** By key in hexadecimal: the changes of versions that were made, as what their captions say depends on the pixels. */
  readonly #known = new Map<string, Changes>()

  constructor(options: AugmentOptions) {
    this.options = options
  }

  /**
   * @param bytes the encoded picture
   * @param named whether a cache of that size's pictures says so by its name: other sizes are in the keys
   */
  version(
    bytes: Uint8Array,
    {
      captions,
      variant,
      size,
      named,
    }: { captions: readonly string[]; variant: number; size: PictureSize; named: boolean },
  ): Version {
    // The plan is of the record, whatever its size.
    const plan = planOf(contentKey(bytes, false), variant, captions, this.options)
    const content = contentKey(bytes, false, named ? undefined : size)
    if (!plan) return { key: content, plan, captions, size }
    // Captions decide which changes can be said, and so which are made.
    const hash = createHash('sha256')
      .update(content)
      .update(JSON.stringify([format, plan, captions]))
      .digest()
    return { key: hash.subarray(0, cacheKeyBytes), plan, captions, size }
  }

  /** The captions of a version whose pixels are known; null where they must be made to tell. */
  captionsOf({ key, plan, captions }: Version): readonly string[] | null {
    if (!plan?.hue && !plan?.background) return captions
    const changes = this.#known.get(key.toString('hex'))
    return changes ? captionsAfter(captions, changes) : null
  }

  /** @param name what errors call the picture. @throws ERR_FILE when the bytes are no picture */
  async make({ key, plan, captions, size }: Version, bytes: Uint8Array, name: string): Promise<MadeVersion> {
    const { width, height, data } = await decodeImage(bytes, name)
    const window = centreWindow(width, height, size)
    const onWhite = plan !== null && hasWhiteEdge(data, width, window)
    // What fills its picture to the edge, a photograph for instance, keeps its size and place.
    const own = onWhite ? scaled(size, plan.scale) : size
    const { mirrored = false } = plan ?? {}
    const resized = await native.resizeLanczos(data, [width, height], window, [own.width, own.height], mirrored)
    if (!onWhite) return { pixels: resized, captions }
    const { pixels, changes } = changed(resized, own, plan, captions)
    if (plan.hue || plan.background) {
      if (this.#known.size >= remembered) this.#known.clear()
      this.#known.set(key.toString('hex'), changes)
    }
    const fill = changes.background ? backgroundColour(plan, changes.background) : backgrounds.white
    return {
      pixels: placed(pixels, { own, size, plan, fill, box: boxOfThing(resized, own) }),
      captions: captionsAfter(captions, changes),
    }
  }
}

const scaled = ({ width, height }: PictureSize, scale: number): PictureSize => ({
  width: Math.round(width * scale),
  height: Math.round(height * scale),
})

function captionsAfter(captions: readonly string[], { hue, background }: Changes): readonly string[] {
  const named = hue ? recolouredCaptions(captions, hue.from, hue.to) : captions
  return background ? captionsOnBackground(named, background) : named
}

const backgroundColour = ({ background }: Plan, name: BackgroundName): number[] =>
  backgrounds[name].map((value, c) =>
    name === 'white' ? value : Math.max(0, Math.min(255, value + background!.shade[c])),
  )

/** Hue and background as planned, where the picture allows it and a caption can say it. */
function changed(
  rgb: Uint8Array,
  size: PictureSize,
  plan: Plan,
  captions: readonly string[],
): { pixels: Uint8Array; changes: Changes } {
  let pixels = rgb
  const changes: Changes = { hue: null, background: null }
  const alpha = plan.background && opacityOnWhite(rgb, size)
  const from = plan.hue || plan.background ? prevailingHue(rgb) : null
  let colour: string | null = from
  if (plan.hue && from) {
    const to = plan.hue === from ? nextOf(hueNames, from) : plan.hue
    const turned = recolouredCaptions(captions, from, to).length > 0 ? turnHue(rgb, from, to) : null
    if (turned) {
      pixels = turned
      colour = to
      changes.hue = { from, to }
    }
  }
  if (plan.background && alpha) {
    // A thing on its own colour could not be seen.
    const { name } = plan.background
    const background = name === colour ? nextOf(backgroundNames, name) : name
    if (captionsAfter(captions, { ...changes, background }).length > 0) {
      changes.background = background
      pixels = pixels === rgb ? Uint8Array.from(rgb) : pixels
      paintBackground(pixels, alpha, backgroundColour(plan, background))
    }
  }
  return { pixels, changes }
}

/** The picture of size `own` in one of another, shifted as planned but never so far that the thing is cut. */
function placed(rgb: Uint8Array, { own, size, plan, fill, box }: Placing): Uint8Array {
  const { width, height } = size
  const [left, top, right, bottom] = box ?? [0, 0, own.width - 1, own.height - 1]
  const within = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, value))
  const x0 = within(Math.round((width - own.width) / 2 + plan.dx * width), -left, width - 1 - right)
  const y0 = within(Math.round((height - own.height) / 2 + plan.dy * height), -top, height - 1 - bottom)
  const picture = new Uint8Array(width * height * 3)
  for (let i = 0; i < picture.length; i++) picture[i] = fill[i % 3]
  const [begin, end] = [Math.max(0, -x0), Math.min(own.width, width - x0)]
  for (let y = Math.max(0, -y0); y < Math.min(own.height, height - y0); y++)
    picture.set(
      rgb.subarray(3 * (y * own.width + begin), 3 * (y * own.width + end)),
      3 * ((y0 + y) * width + x0 + begin),
    )
  return picture
}

/** Where a picture comes to lie. */
interface Placing {
  own: PictureSize
  /** Of the picture around it. */
  size: PictureSize
  plan: Plan
  /** R, G, B around it. */
  fill: readonly number[]
  /** The thing in it, null where it is empty. */
  box: [number, number, number, number] | null
}
