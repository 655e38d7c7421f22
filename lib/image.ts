/** A generated picture with the prompt and settings it was made with. */
import { encodePng } from './data/index.js'
import { writeFileAtomic } from './native/files.js'
import { StarError } from './native/index.js'
import type { SamplingSettings } from './sampling/index.js'

/** All it takes to make the same picture again. */
export interface ImageSettings extends SamplingSettings {
  prompt: string
  model: string
}

export class StarImage {
  constructor(
    readonly width: number,
    readonly height: number,
    /** Bytes R, G, B of each pixel, row by row from the top. */
    readonly data: Uint8Array,
    readonly settings: ImageSettings,
  ) {}

  /** A PNG file whose text chunks hold the prompt (`Description`) and all settings as JSON (`star-t2i`). */
  png(): Buffer {
    return encodePng({
      width: this.width,
      height: this.height,
      data: this.data,
      text: { Description: this.settings.prompt, Software: 'star-t2i', 'star-t2i': JSON.stringify(this.settings) },
    })
  }

  /** Writes the PNG, beside its place first. @throws ERR_FILE when it cannot be written */
  async save(path: string): Promise<void> {
    writeFileAtomic(path, this.png())
  }
}

export interface GridOptions {
  /** Pictures in a row; default: about as many as rows. */
  columns?: number
  /** White pixels between pictures and around them. Default 4. */
  gap?: number
}

/** A picture made of several, side by side on white; its text chunks hold all prompts and settings. */
export class ImageGrid {
  constructor(
    readonly width: number,
    readonly height: number,
    readonly data: Uint8Array,
    readonly settings: readonly ImageSettings[],
  ) {}

  png(): Buffer {
    const prompts = [...new Set(this.settings.map((own) => own.prompt))]
    const text = { Description: prompts.join('; '), Software: 'star-t2i', 'star-t2i': JSON.stringify(this.settings) }
    return encodePng({ width: this.width, height: this.height, data: this.data, text })
  }

  /** Writes the PNG, beside its place first. @throws ERR_FILE when it cannot be written */
  async save(path: string): Promise<void> {
    writeFileAtomic(path, this.png())
  }
}

/** Lays pictures of one size out row by row. @throws ERR_ARGUMENT when there is none or their sizes differ */
export function imageGrid(images: readonly StarImage[], options: GridOptions = {}): ImageGrid {
  if (images.length === 0) throw new StarError('ERR_ARGUMENT', 'imageGrid: no picture was given, expected at least one')
  const { gap = 4, columns = Math.ceil(Math.sqrt(images.length)) } = options
  const { width, height } = images[0]
  if (images.some((image) => image.width !== width || image.height !== height))
    throw new StarError('ERR_ARGUMENT', 'imageGrid: the pictures have different sizes, expected one size')
  const rows = Math.ceil(images.length / columns)
  const gridWidth = columns * (width + gap) + gap
  const gridHeight = rows * (height + gap) + gap
  const data = new Uint8Array(gridWidth * gridHeight * 3).fill(255)
  images.forEach((image, i) => {
    const left = gap + (i % columns) * (width + gap)
    const top = gap + Math.floor(i / columns) * (height + gap)
    for (let y = 0; y < height; y++)
      data.set(image.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * gridWidth + left) * 3)
  })
  return new ImageGrid(
    gridWidth,
    gridHeight,
    data,
    images.map((image) => image.settings),
  )
}
