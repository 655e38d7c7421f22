/** Pictures one after another, as files that move. */
import { writeFile } from 'node:fs/promises'
import { extname } from 'node:path'
import sharp from 'sharp'
import { shown } from './config/parse-config.js'
import { type StarImage, xmp } from './image.js'
import { replaceFile } from './native/files.js'
import { StarError } from './native/index.js'

/** File formats of animations. */
export type AnimationFormat = 'gif' | 'webp'

/** How an animation is shown. */
export interface AnimationOptions {
  /** Milliseconds that each picture is shown. Default 100. */
  delay?: number
}

/** The format that a file's name says. @throws ERR_ARGUMENT for another ending */
export function animationFormat(path: string): AnimationFormat {
  const ending = extname(path).slice(1).toLowerCase()
  if (ending === 'gif' || ending === 'webp') return ending
  throw new StarError('ERR_ARGUMENT', `"${path}" does not name an animation: end it in .gif or .webp`)
}

/** Pictures of one size that are shown one after another, without end. */
export class StarAnimation {
  /** Takes the pictures as they are; there is at least one. */
  constructor(
    /** In their order. */
    readonly images: readonly StarImage[],
  ) {}

  /**
   * A file in memory. A WebP has quality 95 and holds prompts and settings, a GIF has 256 colours and holds none.
   * @throws ERR_ARGUMENT for another format, or a delay that is no whole number of milliseconds from 1 to 60,000
   */
  async toBuffer(format: AnimationFormat, { delay = 100 }: AnimationOptions = {}): Promise<Buffer> {
    if (!Number.isInteger(delay) || delay < 1 || delay > 60_000)
      throw new StarError(
        'ERR_ARGUMENT',
        `toBuffer: delay is ${shown(delay)}, expected a whole number of milliseconds from 1 to 60000`,
      )
    const { images } = this
    const { width, height } = images[0]
    const raw = { width, height: height * images.length, channels: 3 as const, pageHeight: height }
    const all = sharp(Buffer.concat(images.map(({ data }) => data)), { raw })
    const shownFor = { delay: images.map(() => delay), loop: 0 }
    if (format === 'gif') return all.gif(shownFor).toBuffer()
    if (format !== 'webp')
      throw new StarError('ERR_ARGUMENT', `toBuffer: the format is ${shown(format)}, expected gif or webp`)
    const prompts = [...new Set(images.map(({ settings }) => settings.prompt))].join('; ')
    const tagged = all.withXmp(xmp(prompts, JSON.stringify(images.map(({ settings }) => settings))))
    return tagged.webp({ quality: 95, smartSubsample: true, ...shownFor }).toBuffer()
  }

  /**
   * Writes a .gif or .webp file, whole or not at all; one that is there is replaced.
   * @throws ERR_ARGUMENT for another ending, ERR_FILE when it cannot be written
   */
  async save(path: string, options: AnimationOptions = {}): Promise<void> {
    const bytes = await this.toBuffer(animationFormat(path), options)
    await replaceFile(path, (beside) => writeFile(beside, bytes, { flag: 'wx' }))
  }
}
