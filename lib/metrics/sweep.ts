/** What sampling settings do to a model's pictures: how near they come to those of a pack, and how they differ by seed. */
import type { LoadedModel } from '../engine/loaded-model.js'
import { StarError } from '../native/index.js'
import { type SamplingOptions, samplingSettings } from '../sampling/index.js'
import { Random } from '../tensor/index.js'
import { captionFigures, type RetrievalFigures, type StyleFigures } from './captions.js'
import { Diversity } from './diversity.js'
import { drawAll } from './drawing.js'
import { PackPictures } from './pack-pictures.js'
import { NearestPictures, thumbnail } from './retrieval.js'

export interface SweepOptions {
  /** A pack or a folder of packs. */
  data: string
  /** Training captions that are drawn, at most. */
  count: number
  /** Chooses the captions, and is the seed of every picture. */
  seed: number
  /** Pictures drawn together. */
  batchSize: number
  signal: AbortSignal
  /** Pictures drawn with the settings at hand. */
  onProgress?: (done: number, total: number) => void
}

export interface SweepFigures {
  /** Among all pictures of the pack. */
  retrieval: RetrievalFigures
  /** Among those of the caption's style; null for a pack without styles. */
  inStyle: StyleFigures | null
  /** `pixels` of `DiversityFigures`. */
  diversity: number
}

const seedsOfPrompt = 4
/** Captions of which there are pictures of several seeds. */
const diversePrompts = 24

/** Measures one combination of settings after another on the same captions. The pack is looked at once: 12 KB a picture are kept. */
export class SamplingSweep {
  readonly #chosen: readonly number[]

  private constructor(
    private readonly model: LoadedModel,
    private readonly records: PackPictures['records'],
    private readonly thumbnails: readonly Float32Array[],
    private readonly options: SweepOptions,
  ) {
    const order = records.flatMap(({ split }, i) => (split === 'train' ? [i] : []))
    new Random(options.seed).shuffle(order)
    this.#chosen = order.slice(0, options.count)
  }

  /** @throws ERR_CONFIG for a pack without captions or training pictures, ERR_ABORTED */
  static async open(model: LoadedModel, options: SweepOptions): Promise<SamplingSweep> {
    const side = model.info.imageSize
    using pack = await PackPictures.open(options.data, side, options.signal)
    const train = pack.where(({ split }) => split === 'train').length
    if (train < 2)
      throw new StarError(
        'ERR_CONFIG',
        `${options.data} holds ${train} training pictures with captions, expected 2 or more`,
      )
    const thumbnails: Float32Array[] = []
    for await (const { picture } of pack.pictures(pack.records.map((_, i) => i))) {
      options.signal.throwIfAborted()
      thumbnails.push(thumbnail(picture, side))
    }
    return new SamplingSweep(model, pack.records, thumbnails, options)
  }

  /** @throws ERR_CONFIG for settings out of range, ERR_ABORTED */
  async measure(sampling: SamplingOptions): Promise<SweepFigures> {
    const { model, records, thumbnails } = this
    const { seed, batchSize, signal, onProgress } = this.options
    const settings = samplingSettings({ ...model.info.sampling, ...sampling, seed })
    const side = model.info.imageSize
    const captions = this.#chosen.map((i) => ({ prompt: records[i].caption, seed }))
    const diverse = this.#chosen
      .slice(0, diversePrompts)
      .flatMap((i) => Array.from({ length: seedsOfPrompt }, (_, j) => ({ prompt: records[i].caption, seed: seed + j })))
    const search = new NearestPictures()
    const diversity = new Diversity(side, null, model.info.device)
    let pictures: Uint8Array[] = []
    const drawings = [...captions, ...diverse]
    for await (const { index, picture } of drawAll(model, drawings, { settings, batchSize, signal })) {
      onProgress?.(index + 1, drawings.length)
      if (index < captions.length) {
        const id = this.#chosen[index]
        const own = { thumbnail: thumbnails[id], id }
        search.ask({ thumbnail: thumbnail(picture, side), own, style: records[id].style })
        continue
      }
      pictures.push(picture)
      if (pictures.length < seedsOfPrompt) continue
      diversity.add(pictures)
      pictures = []
    }
    for (const [id, small] of thumbnails.entries()) search.show({ id, style: records[id].style }, small)
    const given = { records, captions: this.#chosen, pairs: [], words: [] }
    const { retrieval, inStyle } = captionFigures(search.found(), given)
    return { retrieval, inStyle, diversity: diversity.figures().pixels }
  }
}
