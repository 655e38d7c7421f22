/** Images with captions from one or more packs, filtered, at one resolution. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'
import { type FilterCounts, type FilterOptions, Filters } from './filters.js'
import { type ImageInfo, openPack, type Pack } from './pack.js'
import { preprocessImage } from './preprocess.js'

export interface DatasetOptions {
  /** Side of the square images in pixels. */
  resolution: number
  /** Keeps images whose info has this `split` (an image without one counts as `train`); all by default. */
  split?: 'train' | 'held-out'
  /** Info keys that hold captions. Where none of them is there, `prompt` and all keys that begin with `caption` count. */
  captionKeys?: readonly string[]
  filters?: FilterOptions
  /** Decodes all images when opening, so that `pixels` finds them. Default true; switch it off for large data sets. */
  preload?: boolean
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

interface Sample {
  pack: Pack
  key: string
  info: ImageInfo
  captions: string[]
}

/** Where a caption is chosen from; `Random` of the tensor layer is one. */
export interface IntegerSource {
  /** A whole number in [0, n). */
  integer(n: number): number
}

/** The packs that paths name: pack files, or folders of them. @throws ERR_FILE when there are none */
export function findPacks(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    if (!existsSync(path))
      throw new StarError(
        'ERR_FILE',
        `${path} does not exist: give a pack or a folder of packs ("star data emoji" builds one)`,
      )
    if (!statSync(path).isDirectory()) return [path]
    const names = new Set(readdirSync(path))
    const packs = [...names].filter((name) => names.has(`${name}-info.json`)).sort()
    if (packs.length === 0)
      throw new StarError(
        'ERR_FILE',
        `${path} holds no pack (a file with NAME-info.json beside it): give a pack or a folder of packs`,
      )
    return packs.map((name) => join(path, name))
  })
}

/** Captions of `PACK-prompt.json` (key → caption, list of captions, or object of info keys), where there is one. */
function readPrompts(pack: string): Record<string, unknown> {
  const file = `${pack}-prompt.json`
  if (!existsSync(file)) return {}
  try {
    const prompts: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (typeof prompts === 'object' && prompts !== null && !Array.isArray(prompts))
      return prompts as Record<string, unknown>
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw fileError('read', file, error)
  }
  throw new StarError('ERR_FILE', `${file} is not a JSON object of captions: repair it, or remove it`)
}

const textsIn = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string' && text !== '')

/** All captions of an image under the keys asked for, or under the usual ones where there is none. */
export function captionsOf(info: Readonly<Record<string, unknown>>, keys: readonly string[] = []): string[] {
  const chosen = keys.flatMap((key) => (Object.hasOwn(info, key) ? textsIn(info[key]) : []))
  if (chosen.length > 0) return chosen
  return Object.keys(info)
    .filter((key) => key === 'prompt' || key.startsWith('caption'))
    .flatMap((key) => textsIn(info[key]))
}

export class ImageCaptionDataset {
  readonly resolution: number
  /** Images left out, by filter. */
  readonly leftOut: FilterCounts
  readonly #packs: Pack[]
  readonly #samples: Sample[]
  readonly #cache: (Uint8Array | undefined)[]

  private constructor(resolution: number, packs: Pack[], samples: Sample[], leftOut: FilterCounts) {
    this.resolution = resolution
    this.#packs = packs
    this.#samples = samples
    this.#cache = new Array(samples.length)
    this.leftOut = leftOut
  }

  /**
   * @param paths packs or folders of packs
   * @throws ERR_FILE when a pack is missing or damaged, ERR_CONFIG when the filters leave no image, ERR_ABORTED
   */
  static async open(paths: string | readonly string[], options: DatasetOptions): Promise<ImageCaptionDataset> {
    const { resolution, split, captionKeys } = options
    if (!Number.isInteger(resolution) || resolution < 1)
      throw new StarError(
        'ERR_ARGUMENT',
        `ImageCaptionDataset: resolution is ${resolution}, expected a whole number of pixels`,
      )
    const filters = new Filters(resolution, options.filters)
    const packs: Pack[] = []
    try {
      const samples: Sample[] = []
      for (const path of findPacks(typeof paths === 'string' ? [paths] : paths)) {
        const pack = openPack(path)
        packs.push(pack)
        const prompts = readPrompts(path)
        for (const key of pack.keys) {
          const own = Object.hasOwn(prompts, key) ? prompts[key] : undefined
          const isObject = typeof own === 'object' && own !== null && !Array.isArray(own)
          const info = {
            ...pack.info(key),
            ...(isObject ? own : own === undefined ? {} : { prompt: own }),
          } as ImageInfo
          if (split && (info.split ?? 'train') !== split) continue
          const captions = filters.apply(info, captionsOf(info, captionKeys))
          if (captions) samples.push({ pack, key, info, captions })
        }
      }
      if (samples.length === 0) {
        const counts = Object.entries(filters.counts).map(([name, count]) => `${name} ${count}`)
        throw new StarError(
          'ERR_CONFIG',
          `no image is left for training at ${resolution} pixels${split ? `, split ${split}` : ''} (left out by filter: ${counts.join(', ') || 'none'}): change the filters or the packs`,
        )
      }
      const dataset = new ImageCaptionDataset(resolution, packs, samples, filters.counts)
      if (options.preload ?? true) await dataset.preload(options)
      return dataset
    } catch (error) {
      for (const pack of packs) pack.close()
      throw error
    }
  }

  get length(): number {
    return this.#samples.length
  }

  #sample(i: number): Sample {
    const sample = this.#samples[i]
    if (!sample)
      throw new StarError(
        'ERR_ARGUMENT',
        `ImageCaptionDataset: sample ${i} was asked for, expected 0 to ${this.length - 1}`,
      )
    return sample
  }

  /** Name of the sample in its pack. */
  id(i: number): string {
    return this.#sample(i).key
  }

  info(i: number): Readonly<ImageInfo> {
    return this.#sample(i).info
  }

  /** The captions that passed the filters, stripped; at least one. */
  captions(i: number): readonly string[] {
    return this.#sample(i).captions
  }

  /** One of the captions. */
  caption(i: number, random: IntegerSource): string {
    const { captions } = this.#sample(i)
    return captions[random.integer(captions.length)]
  }

  /** Decodes one image: resolution²·3 bytes, row-major RGB. Not cached. @throws ERR_FILE when it is damaged */
  async load(i: number): Promise<Uint8Array> {
    const cached = this.#cache[i]
    if (cached) return cached
    const { pack, key } = this.#sample(i)
    return preprocessImage(pack.image(key), this.resolution, `image ${JSON.stringify(key)} of ${pack.path}`)
  }

  /** Decodes all images into memory (resolution²·3 bytes each). @throws ERR_ABORTED, ERR_FILE */
  async preload(
    options: { onProgress?: (done: number, total: number) => void; signal?: AbortSignal } = {},
  ): Promise<void> {
    const ahead = Math.max(2, availableParallelism())
    for (let begin = 0; begin < this.length; begin += ahead) {
      if (options.signal?.aborted)
        throw new StarError('ERR_ABORTED', 'loading of the data set was stopped', { cause: options.signal.reason })
      const end = Math.min(this.length, begin + ahead)
      const decoded = await Promise.all(Array.from({ length: end - begin }, (_, k) => this.load(begin + k)))
      decoded.forEach((pixels, k) => {
        this.#cache[begin + k] = pixels
      })
      options.onProgress?.(end, this.length)
    }
  }

  /** The preloaded image: resolution²·3 bytes, row-major RGB. Do not write to it. @throws ERR_ARGUMENT without preload */
  pixels(i: number): Uint8Array {
    const pixels = this.#cache[i]
    if (pixels) return pixels
    const { key } = this.#sample(i)
    throw new StarError(
      'ERR_ARGUMENT',
      `ImageCaptionDataset: image ${JSON.stringify(key)} was not preloaded: open the data set with preload, or use load`,
    )
  }

  close(): void {
    for (const pack of this.#packs) pack.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
