/** Images with captions from one or more packs, filtered, at one resolution. Images are read when they are asked for. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { StarError } from '../native/index.js'
import { nearestBucket, type PictureSize, sizeOf } from './buckets.js'
import { captionsOf, readPrompts, withPrompt } from './captions.js'
import { type FilterCounts, type FilterOptions, Filters } from './filters.js'
import { type ImageInfo, openPack, type Pack } from './pack.js'
import { preprocessImage } from './preprocess.js'
import { TextTable } from './text-table.js'

export interface DatasetOptions {
  /** Side of the square images in pixels. */
  resolution: number
  /** Sizes of the images, in place of the square: each takes those of about its ratio of sides. */
  buckets?: readonly PictureSize[]
  /** Keeps images whose info has this `split` (an image without one counts as `train`); all by default. */
  split?: 'train' | 'held-out'
  /** Info keys that hold captions. Where none of them is there, `prompt` and all keys that begin with `caption` count. */
  captionKeys?: readonly string[]
  filters?: FilterOptions
  /** Opens a data set without images too, in place of an error. */
  mayBeEmpty?: boolean
  signal?: AbortSignal
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
        `${path} does not exist: give a pack or a folder of packs ("star pack" makes one of images, "star data emoji" one to try)`,
      )
    if (!statSync(path).isDirectory()) return [path]
    const names = new Set(readdirSync(path))
    const packs = [...names].filter((name) => names.has(`${name}-info.json`)).sort()
    if (packs.length === 0)
      throw new StarError(
        'ERR_FILE',
        `${path} holds no pack (a file with NAME-info.json beside it): give a pack or a folder of packs, or make one with "star pack"`,
      )
    return packs.map((name) => join(path, name))
  })
}

/** One line that says why a data set is empty. @throws ERR_CONFIG always */
export function refuseEmpty(
  options: Pick<DatasetOptions, 'resolution' | 'split'>,
  leftOut: FilterCounts,
  paths: readonly string[],
): never {
  const counts = Object.entries(leftOut).map(([name, count]) => `${name} ${count}`)
  throw new StarError(
    'ERR_CONFIG',
    `no image of ${paths.join(', ')} is left for training at ${options.resolution} pixels${options.split ? `, split ${options.split}` : ''} (left out by filter: ${counts.join(', ') || 'none'}): change the filters or the data`,
  )
}

export class ImageCaptionDataset {
  readonly resolution: number
  /** Images left out, by filter. */
  readonly leftOut: FilterCounts
  /** What is wrong with images that a pack lists but its info file does not know, or the other way round. */
  readonly unknown: readonly string[]
  readonly #buckets: readonly PictureSize[]
  /** Bucket of each sample. */
  readonly #bucketOf: readonly number[]
  readonly #packs: Pack[]
  /** First sample of each pack. */
  readonly #starts: number[]
  /** Key and captions of each sample. */
  readonly #samples: TextTable

  private constructor(
    { resolution, buckets = [sizeOf(resolution)] }: DatasetOptions,
    parts: {
      packs: Pack[]
      starts: number[]
      samples: TextTable
      bucketOf: number[]
      leftOut: FilterCounts
      unknown: string[]
    },
  ) {
    this.resolution = resolution
    this.#buckets = buckets
    this.#bucketOf = parts.bucketOf
    this.leftOut = parts.leftOut
    this.unknown = parts.unknown
    this.#packs = parts.packs
    this.#starts = parts.starts
    this.#samples = parts.samples
  }

  /**
   * @param paths packs or folders of packs
   * @throws ERR_FILE when a pack is missing or damaged, ERR_CONFIG when the filters leave no image, ERR_ABORTED
   */
  static async open(paths: string | readonly string[], options: DatasetOptions): Promise<ImageCaptionDataset> {
    const { resolution, split, captionKeys, buckets } = options
    if (!Number.isInteger(resolution) || resolution < 1)
      throw new StarError(
        'ERR_ARGUMENT',
        `ImageCaptionDataset: resolution is ${resolution}, expected a whole number of pixels`,
      )
    const given = typeof paths === 'string' ? [paths] : paths
    const filters = new Filters(resolution, options.filters, { buckets })
    const packs: Pack[] = []
    const starts: number[] = []
    const unknown: string[] = []
    const samples = new TextTable()
    const bucketOf: number[] = []
    try {
      for (const path of findPacks(given)) {
        if (options.signal?.aborted)
          throw new StarError('ERR_ABORTED', 'opening of the data set was stopped', { cause: options.signal.reason })
        const pack = openPack(path)
        packs.push(pack)
        starts.push(samples.length)
        const prompts = readPrompts(path)
        for (const key of pack.keys) {
          if (!pack.knows(key)) {
            unknown.push(`image ${JSON.stringify(key)} of ${path} has no entry in its info file`)
            continue
          }
          const info = withPrompt(pack.info(key), Object.hasOwn(prompts, key) ? prompts[key] : undefined)
          if (split && (info.split ?? 'train') !== split) continue
          const captions = filters.apply(info, captionsOf(info, captionKeys), key)
          if (!captions) continue
          samples.add([key, ...captions])
          bucketOf.push(buckets ? nearestBucket(info, buckets) : 0)
        }
        for (const key of pack.unlisted())
          unknown.push(`image ${JSON.stringify(key)} has an entry in the info file of ${path}, which does not list it`)
        pack.forgetInfos()
        await new Promise(setImmediate)
      }
      if (samples.length === 0 && !options.mayBeEmpty) refuseEmpty(options, filters.counts, given)
      return new ImageCaptionDataset(options, { packs, starts, samples, bucketOf, leftOut: filters.counts, unknown })
    } catch (error) {
      for (const pack of packs) pack.close()
      throw error
    }
  }

  get length(): number {
    return this.#samples.length
  }

  #sample(i: number): { pack: Pack; key: string; captions: string[] } {
    if (!(i >= 0 && i < this.length))
      throw new StarError(
        'ERR_ARGUMENT',
        `ImageCaptionDataset: sample ${i} was asked for, expected 0 to ${this.length - 1}`,
      )
    const [key, ...captions] = this.#samples.get(i)
    let [low, high] = [0, this.#starts.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#starts[middle] <= i) low = middle
      else high = middle - 1
    }
    return { pack: this.#packs[low], key, captions }
  }

  /** Name of the sample in its pack. */
  id(i: number): string {
    return this.#sample(i).key
  }

  /** Number of the bucket that its image goes to; 0 where there are none. */
  bucket(i: number): number {
    return this.#bucketOf[i]
  }

  /** The captions that passed the filters, stripped; at least one. */
  captions(i: number): readonly string[] {
    return this.#sample(i).captions
  }

  /** What the info file of its pack says about the sample; it stays in memory once it was asked for. */
  info(i: number): ImageInfo {
    const { pack, key } = this.#sample(i)
    return pack.info(key)
  }

  /** One of the captions. */
  caption(i: number, random: IntegerSource): string {
    const { captions } = this.#sample(i)
    return captions[random.integer(captions.length)]
  }

  /** What errors call the sample. */
  describe(i: number): string {
    const { pack, key } = this.#sample(i)
    return `image ${JSON.stringify(key)} of ${pack.path}`
  }

  /** The encoded image. @throws ERR_FILE when the pack does not hold it any more */
  read(i: number): Promise<Uint8Array> {
    const { pack, key } = this.#sample(i)
    return pack.read(key)
  }

  /** Reads and decodes one image: height·width·3 bytes of its bucket's size, row-major RGB. @throws ERR_FILE when it is damaged */
  async load(i: number): Promise<Uint8Array> {
    return preprocessImage(await this.read(i), this.#buckets[this.bucket(i)], { name: this.describe(i) })
  }

  close(): void {
    for (const pack of this.#packs) pack.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
