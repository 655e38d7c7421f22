/**
 * What the loader of the reference implementation leaves out of a data set, and what it strips from captions. Every filter can be
 * switched off or moved, and every image left out is counted under the first filter it failed.
 */
import { nearestBucket, type PictureSize } from './buckets.js'
import { type DiscardedIds, discardedIds } from './discard.js'

export interface FilterOptions {
  /** Largest ratio of the longer side to the shorter; false turns the filter off. Default 3. */
  aspectRatio?: number | false
  /**
   * Least number of pixels of the shorter side; false turns the filter off. Default: the training resolution; with buckets a picture
   * has the width and the height of its bucket at least.
   */
  minSide?: number | false
  /** A caption must have more characters than the first number and at most the second. Default [3, 1024]. */
  captionLength?: readonly [number, number] | false
  /** A caption with one character this often in a row, or more, is left out. Default 5. */
  repeatedCharacter?: number | false
  /** Captions that hold one of these are left out. Default ['s.mj.run'] (links to pictures used as prompts). */
  forbiddenText?: readonly string[] | false
  /** Largest estimate that the image bears a watermark (`pwatermark` of the info, if it has one). Default 0.6. */
  watermark?: number | false
  /** Largest estimate that the image is unsafe (`punsafe` of the info, if it has one). Default 0.5. */
  unsafe?: number | false
  /** Languages to keep (`language` or `LANGUAGE` of the info, if it has one). Default false: all. */
  languages?: readonly string[] | false
  /** JSON files with ids of images to leave out: lists of ids, or objects by id. Default false: none. */
  discard?: readonly string[] | false
  /**
   * JSON files, or folders of them, with objects id → score: images with a score at or below `above` are left out, those
   * without one are kept. Default false: none.
   */
  reward?: { scores: readonly string[]; above: number } | false
  /** Strips web addresses and flags like `--ar 3:2` from captions. Default true. */
  strip?: boolean
}

export type FilterName = Exclude<keyof FilterOptions, 'strip'>
/** Images left out, by the first filter they failed. */
export type FilterCounts = Partial<Record<FilterName, number>>

export interface ImageFacts {
  width: number
  height: number
  [key: string]: unknown
}

const flagWords = 'raw|expressive|cute|scenic|original|default|4a|4b|4c'

/**
 * A caption without web addresses and without the flags of image services: `--ar 3:2`, `--v 5`, `--niji`, `--style raw`,
 * and `--no …` with all up to the next flag.
 */
export function stripCaption(caption: string): string {
  return caption
    .replace(/<?\b(?:https?:\/\/|www\.)[^\s>]+>?/gi, ' ')
    .replace(/(^|\s)(?:--|–|—)no\b.*?(?=\s(?:--|–|—)[a-z]|$)/gis, '$1 ')
    .replace(
      new RegExp(`(^|\\s)(?:--|–|—)[a-z][a-z]*(?:\\s+(?:[\\d.]+(?:[:x/][\\d.]+)?|${flagWords})(?![^\\s,;]))?`, 'gi'),
      '$1 ',
    )
    .replace(/\s+/g, ' ')
    .trim()
}

function hasRun(text: string, length: number): boolean {
  let run = 0
  let previous = ''
  for (const character of text) {
    run = character === previous ? run + 1 : 1
    previous = character
    if (run >= length) return true
  }
  return false
}

const lengthOf = (text: string) => [...text].length

/** An estimate in the info: a number, or a number written as text. */
function estimate(value: unknown): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof number === 'number' && Number.isFinite(number) ? number : null
}

/** The filters with their defaults filled in. */
export class Filters {
  readonly #options: Required<Omit<FilterOptions, 'minSide'>> & Pick<FilterOptions, 'minSide'>
  readonly counts: FilterCounts = {}
  readonly #resolution: number
  readonly #buckets: readonly PictureSize[] | undefined
  /** What `discard` and `reward` leave out. */
  readonly discarded: DiscardedIds
  #kept = 0

  /**
   * @param resolution training resolution in pixels
   * @param more sizes of the training pictures where they are no squares of the resolution; and what other filters with the same
   * options leave out by name, so that files are read once
   * @throws ERR_FILE where one of them cannot be read, ERR_CONFIG where it holds something else
   */
  constructor(
    resolution: number,
    options: FilterOptions = {},
    more: { buckets?: readonly PictureSize[]; discarded?: DiscardedIds } = {},
  ) {
    this.discarded = more.discarded ?? discardedIds(options)
    this.#resolution = resolution
    this.#buckets = more.buckets
    this.#options = {
      aspectRatio: options.aspectRatio ?? 3,
      minSide: options.minSide,
      captionLength: options.captionLength ?? [3, 1024],
      repeatedCharacter: options.repeatedCharacter ?? 5,
      forbiddenText: options.forbiddenText ?? ['s.mj.run'],
      watermark: options.watermark ?? 0.6,
      unsafe: options.unsafe ?? 0.5,
      languages: options.languages ?? false,
      discard: options.discard ?? false,
      reward: options.reward ?? false,
      strip: options.strip ?? true,
    }
  }

  /** Images that passed. */
  get kept(): number {
    return this.#kept
  }

  /**
   * The filter that leaves the image out whatever its captions say, or null.
   * @param key name of the sample in its data set; it may be listed by that or by the `id` of its info
   */
  failedByImage(facts: ImageFacts, key?: string): FilterName | null {
    const listed = this.discarded.get(String(facts.id)) ?? (key === undefined ? undefined : this.discarded.get(key))
    if (listed) return listed
    const { aspectRatio, watermark, unsafe, languages } = this.#options
    const shorter = Math.min(facts.width, facts.height)
    if (aspectRatio !== false && !(Math.max(facts.width, facts.height) <= aspectRatio * shorter)) return 'aspectRatio'
    if (this.#isTooSmall(facts)) return 'minSide'
    const marked = estimate(facts.pwatermark)
    if (watermark !== false && marked !== null && marked > watermark) return 'watermark'
    const risk = estimate(facts.punsafe)
    if (unsafe !== false && risk !== null && risk > unsafe) return 'unsafe'
    const language = facts.language ?? facts.LANGUAGE
    if (languages !== false && typeof language === 'string' && !languages.includes(language)) return 'languages'
    return null
  }

  #isTooSmall({ width, height }: ImageFacts): boolean {
    const { minSide } = this.#options
    if (minSide === false) return false
    if (minSide !== undefined || !this.#buckets) return !(Math.min(width, height) >= (minSide ?? this.#resolution))
    const bucket = this.#buckets[nearestBucket({ width, height }, this.#buckets)]
    return !(width >= bucket.width && height >= bucket.height)
  }

  /** The filter that leaves a caption out, or null; length is that of the caption before and after stripping. */
  failedByCaption(caption: string): FilterName | null {
    const { captionLength, repeatedCharacter, forbiddenText } = this.#options
    if (captionLength !== false) {
      const [least, most] = captionLength
      if (lengthOf(caption) > most || lengthOf(this.strip(caption)) <= least) return 'captionLength'
    }
    if (repeatedCharacter !== false && hasRun(caption, repeatedCharacter)) return 'repeatedCharacter'
    if (forbiddenText !== false && forbiddenText.some((text) => caption.includes(text))) return 'forbiddenText'
    return null
  }

  strip(caption: string): string {
    return this.#options.strip ? stripCaption(caption) : caption.trim()
  }

  /**
   * The captions of an image that pass, stripped; null when the image is left out, because of what it is or because no
   * caption passes. Counts the image.
   */
  apply(facts: ImageFacts, captions: readonly string[], key?: string): string[] | null {
    let failed = this.failedByImage(facts, key)
    const passed: string[] = []
    if (!failed) {
      let first: FilterName | null = null
      for (const caption of captions) {
        const reason = this.failedByCaption(caption)
        if (reason) first ??= reason
        else passed.push(this.strip(caption))
      }
      if (passed.length === 0) failed = first ?? 'captionLength'
    }
    if (failed) {
      this.counts[failed] = (this.counts[failed] ?? 0) + 1
      return null
    }
    this.#kept++
    return [...new Set(passed)]
  }
}
