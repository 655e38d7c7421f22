/**
 * What a run leaves behind for people and tools: `metrics.jsonl`, TensorBoard's event file, `log.txt`, and pictures below
 * `val_imgs`. Rank 0 records; the other processes of a run have none.
 */
import { appendFileSync, closeSync, existsSync, openSync, readSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { encodePng } from '../../data/png.js'
import { fileError, makeFolder, writeFileAtomic } from '../../native/files.js'
import { tensorboardScalars } from './tags.js'
import { EventFile } from './tensorboard.js'

/** Pixels of a picture, 8 bits a channel: (height, width, 3). */
export interface RecordedPicture {
  width: number
  height: number
  data: Uint8Array
}

export interface RecordedSample {
  /** What it shows, which names its file. */
  prompt: string
  picture: RecordedPicture
  /** The picture after each scale, side by side. */
  scales?: RecordedPicture
}

export interface RecorderOptions {
  folder: string
  /** Steps done when the recording begins; 0 in a new run. */
  step: number
  /** Side in pixels of each scale. */
  sides: readonly number[]
}

export class Recorder {
  readonly #folder: string
  readonly #events: EventFile
  readonly #sides: readonly number[]

  /** Takes back what was recorded of steps after `step`: they are taken again. */
  constructor({ folder, step, sides }: RecorderOptions) {
    this.#folder = folder
    this.#sides = sides
    cutLines(join(folder, 'metrics.jsonl'), step)
    const resumed = existsSync(join(folder, 'metrics.jsonl'))
    this.#events = new EventFile(folder, resumed ? step : null)
  }

  /** One line of metrics.jsonl and the same in TensorBoard. Values that are not finite are left out there. */
  metrics(step: number, values: Readonly<Record<string, number>>): void {
    append(join(this.#folder, 'metrics.jsonl'), JSON.stringify({ step, ...values }))
    const finite = Object.fromEntries(Object.entries(values).filter(([, value]) => Number.isFinite(value)))
    this.#events.scalars(step, tensorboardScalars(finite, this.#sides))
  }

  /** `val_imgs/epN_iterM/PROMPT.png`, and `PROMPT.scales.png` where there are scales. */
  pictures(step: number, epoch: number, samples: readonly RecordedSample[]): void {
    const set = join(this.#folder, 'val_imgs', `ep${epoch}_iter${step}`)
    makeFolder(set)
    for (const { prompt, picture, scales } of samples) {
      const name = fileNameOf(prompt)
      const png = encodePng(picture)
      writeFileAtomic(join(set, `${name}.png`), png)
      if (scales) writeFileAtomic(join(set, `${name}.scales.png`), encodePng(scales))
      this.#events.image(step, `val_imgs/${name}`, { ...picture, png: Buffer.from(png) })
    }
  }
}

/** Adds one line to a file of a run. */
export function append(file: string, line: string): void {
  try {
    appendFileSync(file, `${line}\n`)
  } catch (error) {
    throw fileError('written', file, error)
  }
}

/** A prompt as the name of a file: what file systems forbid becomes a blank, and it is cut where it is long. */
export function fileNameOf(prompt: string): string {
  const name = prompt
    .normalize('NFC')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    .replaceAll(/[/\\:*?"<>|\u0000-\u001f\u007f]+/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .slice(0, 80)
    .replace(/[. ]+$/, '')
  return name.startsWith('.') || name === '' ? `_${name}` : name
}

/** Cuts a file of JSON lines before the first line of a step after `step`, and before half a line at its end. */
function cutLines(file: string, step: number): void {
  if (!existsSync(file)) return
  const fd = openSync(file, 'r')
  let keep = 0
  try {
    const piece = Buffer.alloc(1 << 20)
    let rest = Buffer.alloc(0)
    let position = 0
    reading: for (;;) {
      const count = readSync(fd, piece, 0, piece.length, position)
      if (count === 0) break
      position += count
      rest = Buffer.concat([rest, piece.subarray(0, count)])
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        if (stepOf(rest.subarray(0, end).toString('utf8')) > step) break reading
        keep += end + 1
        rest = rest.subarray(end + 1)
      }
    }
  } finally {
    closeSync(fd)
  }
  try {
    truncateSync(file, keep)
  } catch (error) {
    throw fileError('written', file, error)
  }
}

/** −∞ for a line that a crash has spoilt: it stays, readers pass over it. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown }
    return typeof step === 'number' ? step : Number.NEGATIVE_INFINITY
  } catch {
    return Number.NEGATIVE_INFINITY
  }
}
