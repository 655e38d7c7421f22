/** The pictures of packs with what their info says about them: what an evaluation compares drawn pictures with. */
import { ImageCaptionDataset } from '../data/index.js'
import { StarError } from '../native/index.js'

export interface PackRecord {
  /** The caption that a picture is drawn from: the first one. */
  caption: string
  split: 'train' | 'held-out'
  /** Held out as a pair: its concept is seen in other styles. */
  heldOutPair: boolean
  /** Style, thing and words of packs that say them (`star data icons`). */
  style: string | null
  concept: string | null
  tags: readonly string[]
}

const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)

export class PackPictures {
  private constructor(
    readonly records: readonly PackRecord[],
    readonly resolution: number,
    private readonly data: ImageCaptionDataset,
  ) {}

  /** @throws ERR_FILE when a pack is missing or damaged, ERR_CONFIG when no picture has a caption */
  static async open(packs: string, resolution: number, signal?: AbortSignal): Promise<PackPictures> {
    const data = await ImageCaptionDataset.open(packs, { resolution, mayBeEmpty: true, signal })
    if (data.length === 0) {
      const reasons = Object.entries(data.leftOut).map(([reason, count]) => `${reason} ${count}`)
      data.close()
      throw new StarError(
        'ERR_CONFIG',
        `${packs} holds no picture of at least ${resolution} pixels with a caption of four characters or more (left out: ${reasons.join(', ') || 'none'}): pack pictures with captions ("star pack")`,
      )
    }
    const records = Array.from({ length: data.length }, (_, i): PackRecord => {
      const info = data.info(i)
      const tags = Array.isArray(info.tags) ? info.tags.filter((tag) => typeof tag === 'string') : []
      return {
        caption: data.captions(i)[0],
        split: info.split === 'held-out' ? 'held-out' : 'train',
        heldOutPair: info.heldOut === 'pair',
        style: text(info.style),
        concept: text(info.concept),
        tags,
      }
    })
    return new PackPictures(records, resolution, data)
  }

  /** Indices of the records that pass. */
  where(passes: (record: PackRecord) => boolean): number[] {
    return this.records.flatMap((record, i) => (passes(record) ? [i] : []))
  }

  /** resolution²·3 bytes. @throws ERR_FILE for a damaged picture */
  load(i: number): Promise<Uint8Array> {
    return this.data.load(i)
  }

  /** Pictures one by one, a few of them read ahead. */
  async *pictures(indices: readonly number[]): AsyncGenerator<{ index: number; picture: Uint8Array }> {
    const ahead = 8
    for (let begin = 0; begin < indices.length; begin += ahead) {
      const some = indices.slice(begin, begin + ahead)
      const loaded = await Promise.all(some.map((index) => this.load(index)))
      for (const [i, picture] of loaded.entries()) yield { index: some[i], picture }
    }
  }

  close(): void {
    this.data.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
