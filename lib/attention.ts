/** Where a picture shows the words of a prompt. */
import { writeFile } from 'node:fs/promises'
import sharp from 'sharp'
import { drawSheet, encodePng } from './data/index.js'
import type { PixelData } from './editing/index.js'
import { replaceFile } from './native/files.js'
import { StarError } from './native/index.js'

/** How much a picture attends to a word. */
export interface WordAttention {
  /** As the prompt has it. */
  word: string
  /** Of each position of the latent, row by row from the top: the probability of the word's tokens together. */
  map: Float32Array
}

/** A picture, and where it attends to each word of a prompt. */
export class StarAttention {
  /** Takes what it is given as it is. */
  constructor(
    /** The picture as the model sees it. */
    readonly image: PixelData,
    /** Of the maps. */
    readonly rows: number,
    /** Of the maps. */
    readonly cols: number,
    /** In the order of the prompt. */
    readonly words: readonly WordAttention[],
  ) {}

  /**
   * The picture with a word's map over it, from dark, where it is lowest, to bright, where it is highest: R, G, B bytes.
   * @param index of the word
   */
  async heatMap(index: number): Promise<PixelData> {
    const found = this.words[index]
    if (!found)
      throw new StarError(
        'ERR_ARGUMENT',
        `heatMap: there is no word ${index}, expected one of 0 to ${this.words.length - 1}`,
      )
    const { width, height, data } = this.image
    const low = found.map.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY)
    const high = found.map.reduce((most, value) => Math.max(most, value), 0)
    const bytes = Uint8Array.from(found.map, (value) =>
      high > low ? Math.round((255 * (value - low)) / (high - low)) : 0,
    )
    const heat = await sharp(bytes, { raw: { width: this.cols, height: this.rows, channels: 1 } })
      .resize(width, height, { kernel: 'cubic', fit: 'fill' })
      .extractChannel(0)
      .raw()
      .toBuffer()
    const shown = new Uint8Array(width * height * 3)
    for (let i = 0; i < width * height; i++) {
      const grey = 0.299 * data[3 * i] + 0.587 * data[3 * i + 1] + 0.114 * data[3 * i + 2]
      for (const [c, value] of heatColour(heat[i] / 255).entries())
        shown[3 * i + c] = Math.round(0.35 * grey + 0.65 * value)
    }
    return { width, height, data: shown }
  }

  /** A PNG: the picture, then the heat map of each word under its name. */
  async toBuffer(): Promise<Uint8Array> {
    const maps = await Promise.all(
      this.words.map(async ({ word }, i) => ({ image: encodePng(await this.heatMap(i)), caption: word })),
    )
    return drawSheet([{ image: encodePng(this.image), caption: '' }, ...maps], Math.min(8, maps.length + 1))
  }

  /** Writes the PNG of `toBuffer`, whole or not at all; one that is there is replaced. @throws ERR_FILE when it cannot be written */
  async save(path: string): Promise<void> {
    if (!path.toLowerCase().endsWith('.png'))
      throw new StarError('ERR_ARGUMENT', `"${path}" does not name a PNG, which maps are written as: end it in .png`)
    const bytes = await this.toBuffer()
    await replaceFile(path, (beside) => writeFile(beside, bytes, { flag: 'wx' }))
  }
}

/** Black, red, yellow, white. */
const heatColour = (x: number): [number, number, number] => {
  const part = (from: number): number => 255 * Math.min(1, Math.max(0, 3 * x - from))
  return [part(0), part(1), part(2)]
}
