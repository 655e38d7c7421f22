/** Generated pictures with the prompts and settings they were made with, as files of the usual formats. */

import { readFile, writeFile } from 'node:fs/promises'
import { extname } from 'node:path'
import sharp from 'sharp'
import { z } from 'zod'
import { parseJson } from './config/json.js'
import { parseConfig, shown } from './config/parse-config.js'
import { readPngText, withPngText } from './data/index.js'
import { loraModes } from './engine/loras.js'
import { modelTypes } from './models/star/index.js'
import { fileError, replaceFile } from './native/files.js'
import { StarError } from './native/index.js'
import { pictureSizeSchema } from './picture-size.js'
import { samplingSchema } from './sampling/index.js'

/** A LoRA and its strength. */
export const loraSchema = z.strictObject({
  /** Its folder or file, or its name on Hugging Face. */
  path: z.string().min(1),
  /** How strongly it is applied: 1 as trained, 0 not at all. */
  strength: z.number().default(1),
})

const settingsSchema = samplingSchema.extend({
  /** Its prompt. */
  prompt: z.string(),
  /** What it was guided away from, where that is not the empty prompt. */
  negativePrompt: z.string().optional(),
  /** Name of the model. */
  model: z.string(),
  /** SHA-256 of the model's stored weights, in hexadecimal. */
  weights: z.string(),
  /** Type that the transformer drew in. */
  dtype: z.enum(modelTypes),
  /** Device it was drawn on. */
  device: z.string(),
  /** Width and height that it was drawn with, where these are not the model's own. */
  size: pictureSizeSchema.optional(),
  /** How it was made of another picture, which the file does not hold. */
  edited: z
    .strictObject({
      /** The call: a part of the picture, or all of it. */
      by: z.enum(['edit', 'vary']),
      /** How much was drawn anew. */
      strength: z.number(),
      /** What it showed before, where it was changed by words. */
      from: z.string().optional(),
      /** Share of it that was changed by words. */
      share: z.number().optional(),
      /** Whether code vectors were mixed at the mask's edge. */
      softEdge: z.boolean().optional(),
    })
    .optional(),
  /** LoRAs that it was drawn with. */
  lora: z.array(loraSchema).optional(),
  /** How they were put to use. */
  loraMode: z.enum(loraModes).optional(),
})

/** All it takes to make the same picture again; of one that was made of another, all but that picture. */
export type ImageSettings = z.output<typeof settingsSchema>

/** File formats of pictures, by the endings of their names. */
export const imageFormats = { png: 'png', jpg: 'jpeg', jpeg: 'jpeg', webp: 'webp', avif: 'avif' } as const
/** A file format of pictures. */
export type ImageFormat = (typeof imageFormats)[keyof typeof imageFormats]

/** The format that a file's name says. @throws ERR_ARGUMENT for another ending */
export function imageFormat(path: string): ImageFormat {
  const ending = extname(path).slice(1).toLowerCase()
  if (Object.hasOwn(imageFormats, ending)) return imageFormats[ending as keyof typeof imageFormats]
  throw new StarError(
    'ERR_ARGUMENT',
    `"${path}" does not name a picture: end it in ${Object.keys(imageFormats)
      .map((name) => `.${name}`)
      .join(', ')}`,
  )
}

const escaped = (text: string): string =>
  text.replaceAll(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)
const unescaped = (text: string): string =>
  text.replaceAll(/&(amp|lt|gt|quot);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>', quot: '"' })[name]!)

/** Metadata of formats other than PNG, as XMP (ISO 16684): characters that XML does not allow are left out. */
export function xmp(description: string, settings: string): string {
  const text = (value: string): string => escaped(value.replaceAll(/[^\P{Cc}\n\t]/gu, ''))
  return `<?xpacket begin="\uFEFF" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:star="urn:star-t2i:"><dc:description><rdf:Alt><rdf:li xml:lang="x-default">${text(description)}</rdf:li></rdf:Alt></dc:description><xmp:CreatorTool>star-t2i</xmp:CreatorTool><star:settings>${text(settings)}</star:settings></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>`
}

/** Pixels and what they were made with. */
export abstract class Picture {
  /** Takes the bytes as they are, without a copy. */
  constructor(
    /** In pixels. */
    readonly width: number,
    /** In pixels. */
    readonly height: number,
    /** Bytes R, G, B of each pixel, row by row from the top. */
    readonly data: Uint8Array,
  ) {}

  /** What the file says to people, and to `Star.settingsOf`. */
  protected abstract texts(): { description: string; settings: unknown }

  /**
   * A file in memory, made beside the event loop. Prompt and settings are in it: in the text chunks `Description` and `star-t2i`
   * (JSON) of a PNG, in the XMP of the others. JPEG and WebP have quality 95, AVIF 80; PNG loses nothing.
   * @throws ERR_ARGUMENT for another format
   */
  async toBuffer(format: ImageFormat = 'png'): Promise<Buffer> {
    const { description, settings } = this.texts()
    const json = JSON.stringify(settings)
    const { width, height } = this
    const image = sharp(this.data, { raw: { width, height, channels: 3 } })
    if (format === 'png') {
      const png = await image.png({ compressionLevel: 9, adaptiveFiltering: true }).toBuffer()
      return withPngText(png, { Description: description, Software: 'star-t2i', 'star-t2i': json })
    }
    const tagged = image.withXmp(xmp(description, json))
    if (format === 'jpeg') return tagged.jpeg({ quality: 95, chromaSubsampling: '4:4:4' }).toBuffer()
    if (format === 'webp') return tagged.webp({ quality: 95, smartSubsample: true }).toBuffer()
    if (format === 'avif') return tagged.avif({ quality: 80, chromaSubsampling: '4:4:4' }).toBuffer()
    throw new StarError('ERR_ARGUMENT', `toBuffer: the format is ${shown(format)}, expected png, jpeg, webp or avif`)
  }

  /**
   * Writes a file in the format that its ending names (.png, .jpg, .jpeg, .webp, .avif), whole or not at all; one that is there
   * is replaced.
   * @throws ERR_ARGUMENT for another ending, ERR_FILE when it cannot be written
   */
  async save(path: string): Promise<void> {
    const bytes = await this.toBuffer(imageFormat(path))
    await replaceFile(path, (beside) => writeFile(beside, bytes, { flag: 'wx' }))
  }
}

/** A picture that a model drew. */
export class StarImage extends Picture {
  /** Takes the bytes as they are, without a copy. */
  constructor(
    width: number,
    height: number,
    data: Uint8Array,
    /** All it takes to draw it again. */
    readonly settings: ImageSettings,
  ) {
    super(width, height, data)
  }

  protected override texts() {
    return { description: this.settings.prompt, settings: this.settings }
  }
}

/** White pixels between the pictures of a grid. */
export const gridGap = 4

/** How a grid is laid out. */
export interface GridOptions {
  /** Pictures in a row; default: about as many as rows. */
  columns?: number
  /** White pixels between pictures and around them. Default 4. */
  gap?: number
}

/** A picture made of several, side by side on white. */
export class ImageGrid extends Picture {
  /** Takes the bytes as they are, without a copy. */
  constructor(
    width: number,
    height: number,
    data: Uint8Array,
    /** Of each picture, in order. */
    readonly settings: readonly ImageSettings[],
  ) {
    super(width, height, data)
  }

  protected override texts() {
    const prompts = [...new Set(this.settings.map((own) => own.prompt))]
    return { description: prompts.join('; '), settings: this.settings }
  }
}

/** Lays pictures of one size out row by row. @throws ERR_ARGUMENT when there is none or their sizes differ */
export function imageGrid(images: readonly StarImage[], options: GridOptions = {}): ImageGrid {
  if (images.length === 0) throw new StarError('ERR_ARGUMENT', 'imageGrid: no picture was given, expected at least one')
  const { gap = gridGap, columns = Math.ceil(Math.sqrt(images.length)) } = options
  for (const [name, value, low] of [
    ['columns', columns, 1],
    ['gap', gap, 0],
  ] as const)
    if (!Number.isInteger(value) || value < low)
      throw new StarError(
        'ERR_ARGUMENT',
        `imageGrid: ${name} is ${shown(value)}, expected a whole number of at least ${low}`,
      )
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

const pngMark = Buffer.from([0x89, 0x50, 0x4e, 0x47])

async function textOf(bytes: Uint8Array, name: string): Promise<{ text: string | undefined; width: number }> {
  try {
    const { xmp, width, pages = 1 } = await sharp(bytes).metadata()
    if (pages > 1)
      throw new StarError('ERR_ARGUMENT', `${name} is an animation of ${pages} pictures, expected a picture`)
    if (pngMark.equals(bytes.subarray(0, 4))) return { text: readPngText(bytes)['star-t2i'], width }
    const found = /<star:settings>([\s\S]*?)<\/star:settings>/.exec(xmp?.toString('utf8') ?? '')
    return { text: found ? unescaped(found[1]) : undefined, width }
  } catch (cause) {
    if (cause instanceof StarError) throw cause
    throw new StarError('ERR_FILE', `${name} is no picture that can be read: give one that star-t2i wrote`, { cause })
  }
}

/**
 * The settings of the pictures in a file that star-t2i wrote: one, or those of a grid in order; and the file's width in pixels.
 * @param file its path, or its bytes
 * @throws ERR_FILE when it cannot be read, or holds no settings
 */
export async function readSettings(file: string | Uint8Array): Promise<{ all: ImageSettings[]; width: number }> {
  const isPath = typeof file === 'string'
  if (!isPath && !(file instanceof Uint8Array))
    throw new StarError('ERR_ARGUMENT', `settingsOf: ${shown(file)} was given, expected a path or the bytes of a file`)
  const name = isPath ? file : 'the picture'
  const bytes = isPath
    ? await readFile(file).catch((error) => {
        throw fileError('read', file, error)
      })
    : file
  const { text, width } = await textOf(bytes, name)
  if (text === undefined)
    throw new StarError('ERR_FILE', `${name} does not say how it was made: give a picture that star-t2i wrote`)
  const json = parseJson(text, `the text of ${name}`)
  const list = Array.isArray(json) ? json : [json]
  return { all: list.map((own) => parseConfig(settingsSchema, own, `the text of ${name}`)), width }
}
