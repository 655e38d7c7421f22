/**
 * Samples of WebDataset tars, streamed: the tars of an epoch are read one after the other, in an order shuffled anew, and
 * samples are shuffled within a window of some hundred that lies in memory. A process takes every ranks-th tar; where there
 * are fewer tars than processes, every ranks-th sample of all tars. So, unlike that of packs, the order depends on the number
 * of processes: how many samples of a tar pass the filters and are sound is known only when it was read, and one order for
 * all would have every process read all tars.
 */
import sharp from 'sharp'
import { StarError } from '../native/index.js'
import { Random } from '../tensor/index.js'
import { nearestBucket } from './buckets.js'
import { captionsOf } from './captions.js'
import { type DatasetOptions, refuseEmpty } from './dataset.js'
import { type FilterCounts, Filters } from './filters.js'
import type { SampleSource, SourceSample, SourceStep } from './source.js'
import { findTars, type TarSample, tarSamples } from './tar.js'

export interface TarSourceOptions extends Omit<DatasetOptions, 'signal' | 'mayBeEmpty'> {
  tarSamples?: number
  seed?: number
  rank?: number
  ranks?: number
  shuffle?: boolean
  once?: boolean
}

/** A window is full at so many samples or bytes. */
const windowSamples = 1024
const windowBytes = 128 << 20

const imageExtensions = ['png', 'jpg', 'jpeg', 'webp', 'avif', 'gif', 'tif', 'tiff']

/** Where a window begins, and how many of its samples were given out. */
interface TarState {
  epoch: number
  /** Number of the window and of its first sample in the epoch. */
  window: number
  first: number
  /** Tar in the order of the epoch, byte in it, and number of the sample there, counted over all tars. */
  tar: number
  byte: number
  sample: number
  used: number
}

type TarWindowSample = SourceSample & { bucket: number }

/** Told of a damaged tar or sample. */
type OnBad = (name: string, message: string) => void

/** Facts and captions of a sample: its json, and its txt as `prompt`. */
export function tarInfo({ files }: TarSample): Record<string, unknown> {
  const text = files.get('txt') ?? files.get('caption')
  const info: Record<string, unknown> = text ? { prompt: text.toString('utf8').trim() } : {}
  const json = files.get('json')
  if (json) {
    const parsed: unknown = JSON.parse(json.toString('utf8'))
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
      throw new SyntaxError('its json is not an object')
    Object.assign(info, parsed)
  }
  return info
}

/** The image of a sample, or null. */
export function tarImage({ files }: TarSample): Buffer | null {
  for (const extension of imageExtensions) {
    const image = files.get(extension)
    if (image) return image
  }
  return null
}

export class TarSource implements SampleSource {
  readonly ownOrder = true
  readonly #tars: string[]
  readonly #options: Required<Omit<TarSourceOptions, 'split' | 'captionKeys' | 'filters' | 'buckets' | 'tarSamples'>> &
    TarSourceOptions
  /** Counts a window when it is read for the first time; the other filters it when it is read again. */
  readonly #filters: Filters
  readonly #silent: Filters
  #counted = { epoch: 0, window: -1 }
  readonly #onBad: OnBad
  #state: TarState = { epoch: 0, window: 0, first: 0, tar: 0, byte: 0, sample: 0, used: 0 }
  #window: TarWindowSample[] | null = null
  /** Where the window after the current one begins; null behind the last of an epoch. */
  #following: Pick<TarState, 'tar' | 'byte' | 'sample'> | null = null
  /** The open tar, as long as windows follow each other. */
  #open: { tar: number; samples: AsyncGenerator<TarSample> } | null = null
  /** Samples met so far. */
  seen = 0

  private constructor(tars: string[], options: TarSourceOptions, onBad: OnBad) {
    this.#tars = tars
    this.#options = { seed: 0, rank: 0, ranks: 1, shuffle: true, once: false, ...options }
    const { resolution, filters, buckets } = options
    this.#filters = new Filters(resolution, filters, { buckets })
    this.#silent = new Filters(resolution, filters, { buckets, discarded: this.#filters.discarded })
    this.#onBad = onBad
  }

  /**
   * @param paths tars or folders of tars
   * @param onBad told of damaged tars and samples
   * @throws ERR_FILE when there is no tar, ERR_CONFIG when no sample of the first window passes the filters
   */
  static async open(paths: readonly string[], options: TarSourceOptions, onBad: OnBad): Promise<TarSource> {
    const source = new TarSource(findTars(paths), options, onBad)
    await source.#fill()
    if (source.#window!.length === 0 && !source.#following) refuseEmpty(options, source.leftOut, paths)
    return source
  }

  get length(): number | null {
    return this.#options.tarSamples ?? null
  }

  get leftOut(): FilterCounts {
    return this.#filters.counts
  }

  state(): unknown {
    return { ...this.#state }
  }

  restore(state: unknown): void {
    const given = state as TarState
    const names = ['epoch', 'window', 'first', 'tar', 'byte', 'sample', 'used'] as const
    if (names.some((name) => !Number.isSafeInteger(given[name]) || given[name] < 0) || given.tar > this.#tars.length)
      throw new StarError(
        'ERR_ARGUMENT',
        `TarSource: ${JSON.stringify(state)} is no place in ${this.#tars.length} tars: the data or the number of processes changed`,
      )
    const { used: _, ...place } = this.#state
    const sameWindow = Object.entries(place).every(([name, value]) => given[name as keyof TarState] === value)
    this.#state = { ...given }
    if (this.#window && sameWindow) return
    this.#window = null
    this.#closeTar()
  }

  /** Tars of an epoch of this process, and which of their samples are its own. */
  #epochTars(epoch: number): { tars: string[]; own: (sample: number) => boolean } {
    const { seed, rank, ranks, shuffle } = this.#options
    const order = [...this.#tars]
    if (shuffle) new Random(seed + epoch).shuffle(order)
    if (order.length < ranks) return { tars: order, own: (sample) => sample % ranks === rank }
    return { tars: order.filter((_, i) => i % ranks === rank), own: () => true }
  }

  async next(): Promise<SourceStep | null> {
    // An epoch with no sample at all would never end.
    for (let empty = 0; ; ) {
      if (!this.#window) await this.#fill()
      const window = this.#window!
      const state = this.#state
      if (state.used < window.length) {
        const sample = window[state.used]
        state.used++
        const { bucket } = sample
        return { sample, epoch: state.epoch, position: state.first + state.used - 1, bucket }
      }
      const following = this.#following
      if (!following && this.#options.once) return null
      if (!following && state.first + state.used === 0 && ++empty > 1)
        throw new StarError(
          'ERR_CONFIG',
          `no sample of ${this.#tars.length} tars is left for training at ${this.#options.resolution} pixels (left out by filter: ${JSON.stringify(this.leftOut)}): change the filters or the data`,
        )
      this.#state = following
        ? { ...following, epoch: state.epoch, window: state.window + 1, first: state.first + state.used, used: 0 }
        : { epoch: state.epoch + 1, window: 0, first: 0, tar: 0, byte: 0, sample: 0, used: 0 }
      this.#window = null
    }
  }

  /** Reads the window that begins at the current state, and shuffles it. */
  async #fill(): Promise<void> {
    const { epoch, window } = this.#state
    const { tars, own } = this.#epochTars(epoch)
    const again = epoch < this.#counted.epoch || (epoch === this.#counted.epoch && window <= this.#counted.window)
    if (!again) this.#counted = { epoch, window }
    const samples: TarWindowSample[] = []
    let bytes = 0
    let { tar, byte, sample } = this.#state
    while (tar < tars.length && samples.length < windowSamples && bytes < windowBytes) {
      const read = await this.#nextOf(tar, tars[tar], byte)
      if (!read) {
        tar++
        byte = 0
        continue
      }
      byte = read.end
      if (!own(sample++)) continue
      if (!again) this.seen++
      const accepted = await this.#accept(read, tars[tar], again ? this.#silent : this.#filters)
      if (!accepted) continue
      samples.push(accepted)
      bytes += tarImage(read)!.length
    }
    this.#following = tar < tars.length ? { tar, byte, sample } : null
    if (this.#options.shuffle)
      new Random(BigInt(this.#options.seed + epoch) * 1_000_003n + BigInt(window)).shuffle(samples)
    this.#window = samples
  }

  /** The next sample of a tar; null at its end, and where it is damaged, which is told. */
  async #nextOf(tar: number, path: string, byte: number): Promise<TarSample | null> {
    if (this.#open?.tar !== tar) {
      this.#closeTar()
      this.#open = { tar, samples: tarSamples(path, byte) }
    }
    try {
      const { value, done } = await this.#open!.samples.next()
      if (!done) return value
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
      this.#onBad(path, error.message)
    }
    this.#closeTar()
    return null
  }

  #closeTar(): void {
    void this.#open?.samples.return(undefined)
    this.#open = null
  }

  /** The sample if it passes the filters. */
  async #accept(read: TarSample, tar: string, filters: Filters): Promise<TarWindowSample | null> {
    const describe = `sample ${JSON.stringify(read.key)} of ${tar}`
    const image = tarImage(read)
    try {
      const info = tarInfo(read)
      const { split, captionKeys, buckets } = this.#options
      if (split && (info.split ?? 'train') !== split) return null
      if (!image) throw new SyntaxError('it has no image')
      const { width, height } = (await sharp(image).metadata()).autoOrient
      const captions = filters.apply({ ...info, width, height }, captionsOf(info, captionKeys), read.key)
      const bucket = buckets ? nearestBucket({ width, height }, buckets) : 0
      return captions && { id: read.key, captions, describe, read: async () => image, substitute: null, bucket }
    } catch (error) {
      this.#onBad(describe, `${describe} cannot be used: ${(error as Error).message.trim()}`)
      return null
    }
  }

  close(): void {
    this.#closeTar()
  }
}
