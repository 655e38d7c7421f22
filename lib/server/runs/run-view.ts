/** What a page shows of a run folder: its configuration in short, its curves, its pictures. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { StarError } from '../../native/error.js'
import { runSpecs } from '../../train/kinds/index.js'
import type { ModelPart } from '../../weights/index.js'
import { type Changes, MetricsFile, type Series, thinned } from './series.js'

/** Sample pictures of one moment. */
export interface PictureSet {
  /** Folder below val_imgs, `epN_iterM`. */
  name: string
  epoch: number
  step: number
  pictures: { prompt: string; file: string; scales: string | null }[]
}

export interface RunSummary {
  name: string
  folder: string
  kind: string
  /** Whether its model draws pictures of prompts. */
  draws: boolean
  totalSteps: number | null
  /** Samples of a step. */
  batchSize: number | null
  /** Steps between sample pictures; 0: none are drawn. */
  picturesEvery: number | null
  /** Seconds from the run's last start to its newest figures. */
  elapsed: number | null
  /** Lines of the configuration that tell runs apart: `optimizer.batchSize: 8`. */
  settings: [string, string][]
}

/** Everything about a run, as the page takes it. */
export interface RunData extends RunSummary {
  series: Record<string, Series>
  pictures: PictureSet[]
}

/** The part of a model that a kind of training makes, null for updates of one; undefined for what is no kind. */
const partOf = (kind: unknown): ModelPart | null | undefined =>
  Object.entries(runSpecs).find(([name]) => name === kind)?.[1].part

/** Points a curve starts with on the page; what comes later is added whole. */
const mostPoints = 2000
const setName = /^ep(\d+)_iter(\d+)$/

export class RunView {
  readonly metrics: MetricsFile
  readonly folder: string
  #pictures = ''

  /** @throws ERR_FILE when the folder holds no run */
  constructor(
    folder: string,
    readonly name: string,
  ) {
    this.folder = resolve(folder)
    if (!existsSync(join(this.folder, 'config.json')) && !existsSync(join(this.folder, 'metrics.jsonl')))
      throw new StarError(
        'ERR_FILE',
        `${folder} is no run folder (it has neither config.json nor metrics.jsonl): give the "runFolder" of a training`,
      )
    this.metrics = new MetricsFile(join(this.folder, 'metrics.jsonl'))
    this.metrics.update()
    this.#pictures = JSON.stringify(this.pictures())
  }

  /** New points, and the pictures if some were added. */
  update(): { changes: Changes; pictures: PictureSet[] | null; elapsed: number | null } {
    const changes = this.metrics.update()
    const pictures = this.pictures()
    const text = JSON.stringify(pictures)
    const more = text !== this.#pictures
    this.#pictures = text
    return { changes, pictures: more ? pictures : null, elapsed: this.#elapsed() }
  }

  data(): RunData {
    const series = Object.fromEntries(
      [...this.metrics.series].map(([name, curve]) => [name, thinned(curve, mostPoints)] as const),
    )
    return { ...this.summary(), series, pictures: this.pictures() }
  }

  summary(): RunSummary {
    const config = this.#config()
    const optimizer = config.optimizer as { steps?: unknown; batchSize?: unknown } | null | undefined
    const number = (value: unknown): number | null => (typeof value === 'number' ? value : null)
    return {
      name: this.name,
      folder: this.folder,
      kind: typeof config.kind === 'string' ? config.kind : 'training',
      draws: partOf(config.kind) !== 'tokenizer',
      totalSteps: number(optimizer?.steps),
      batchSize: number(optimizer?.batchSize),
      picturesEvery: number(config.picturesEvery),
      elapsed: this.#elapsed(),
      settings: [...flatten(config)],
    }
  }

  /** Seconds from `started` of run.json to the last writing of metrics.jsonl; null where either is missing. */
  #elapsed(): number | null {
    const written = statSync(this.metrics.file, { throwIfNoEntry: false })?.mtimeMs
    const { started } = this.#json('run.json')
    const began = typeof started === 'string' ? Date.parse(started) : Number.NaN
    return written !== undefined && written >= began ? (written - began) / 1000 : null
  }

  #config(): Record<string, unknown> {
    return this.#json('config.json')
  }

  #json(name: string): Record<string, unknown> {
    const file = join(this.folder, name)
    if (!existsSync(file)) return {}
    try {
      const config: unknown = JSON.parse(readFileSync(file, 'utf8'))
      return typeof config === 'object' && config !== null ? (config as Record<string, unknown>) : {}
    } catch {
      // Curves are worth showing without it, and the trainer is where a broken configuration is an error.
      return {}
    }
  }

  /** Sets of pictures in the order of their steps. */
  pictures(): PictureSet[] {
    const root = join(this.folder, 'val_imgs')
    if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) return []
    return readdirSync(root)
      .flatMap((name) => {
        const match = setName.exec(name)
        if (!match || !statSync(join(root, name)).isDirectory()) return []
        const files = readdirSync(join(root, name)).filter((file) => file.endsWith('.png'))
        const pictures = files
          .filter((file) => !file.endsWith('.scales.png'))
          .sort((a, b) => a.localeCompare(b))
          .map((file) => {
            const prompt = basename(file, '.png')
            const scales = `${prompt}.scales.png`
            return { prompt, file, scales: files.includes(scales) ? scales : null }
          })
        return [{ name, epoch: Number(match[1]), step: Number(match[2]), pictures }]
      })
      .sort((a, b) => a.step - b.step)
  }

  /** The bytes of a picture that `pictures` lists; null for any other name. */
  picture(set: string, file: string): Buffer | null {
    const known = this.pictures().find(({ name }) => name === set)
    if (!known?.pictures.some((picture) => picture.file === file || picture.scales === file)) return null
    return readFileSync(join(this.folder, 'val_imgs', set, file))
  }
}

/** Opens run folders under short names that differ. */
export function openRuns(folders: readonly string[]): RunView[] {
  const paths = folders.map((folder) => resolve(folder))
  const twice = paths.find((path, i) => paths.indexOf(path) !== i)
  if (twice) throw new StarError('ERR_ARGUMENT', `${twice} is given twice: name every run once`)
  const parts = paths.map((path) => path.split('/').filter(Boolean))
  return folders.map((folder, i) => {
    let length = 1
    const name = (p: string[]) => p.slice(-length).join('/')
    while (length < parts[i].length && parts.some((other, j) => j !== i && name(other) === name(parts[i]))) length += 1
    return new RunView(folder, name(parts[i]))
  })
}

/** Objects in objects that the settings show; a configuration has four. */
const deepest = 8

/** `a.b: text` for every value of a nested configuration. */
function* flatten(value: unknown, path = '', depth = 0): Generator<[string, string]> {
  if (depth < deepest && typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value))
      yield* flatten(inner, path === '' ? key : `${path}.${key}`, depth + 1)
  } else yield [path, Array.isArray(value) ? value.map(word).join(' ') : word(value)]
}

/** A value in a list is a number or a text; anything nested, which no configuration has there, is named only. */
const word = (value: unknown): string => (typeof value === 'object' && value !== null ? '…' : String(value))
