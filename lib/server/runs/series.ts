/** Curves of a run, read from its metrics.jsonl as it grows. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import { fileError } from '../../native/files.js'

/** Values of one metric by step, in ascending order of steps. */
export interface Series {
  steps: number[]
  values: number[]
}

/** Points that were added since a moment; `from` is the first step that changed, points at and after it are replaced. */
export type Changes = Record<string, { from: number; steps: number[]; values: number[] }>

const pieceSize = 1 << 20

export class MetricsFile {
  readonly series = new Map<string, Series>()
  /** Lines that were no JSON object with a step, as a crash or a full disk leaves them. */
  badLines = 0
  #position = 0
  #inode = 0
  #rest = ''
  #decoder = new StringDecoder('utf8')

  constructor(readonly file: string) {}

  /**
   * Reads what has been added and gives what changed. A file that was replaced or cut is read from the start; one that is
   * not there yet has nothing.
   */
  update(): Changes {
    const changed = new Map<string, number>()
    let fd: number
    try {
      fd = openSync(this.file, 'r')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
      throw fileError('read', this.file, error)
    }
    try {
      const { size, ino } = fstatSync(fd)
      if (size < this.#position || (this.#inode !== 0 && ino !== this.#inode)) this.#restart()
      this.#inode = ino
      const bytes = Buffer.allocUnsafe(Math.min(pieceSize, Math.max(1, size - this.#position)))
      for (;;) {
        const count = readSync(fd, bytes, 0, bytes.length, this.#position)
        if (count === 0) break
        this.#position += count
        this.#take(this.#decoder.write(bytes.subarray(0, count)), changed)
      }
    } catch (error) {
      throw fileError('read', this.file, error)
    } finally {
      closeSync(fd)
    }
    return Object.fromEntries(
      [...changed].map(([name, from]) => {
        const { steps, values } = this.series.get(name)!
        const at = lowerBound(steps, from)
        return [name, { from, steps: steps.slice(at), values: values.slice(at) }]
      }),
    )
  }

  #restart(): void {
    this.series.clear()
    this.badLines = 0
    this.#position = 0
    this.#rest = ''
    this.#decoder = new StringDecoder('utf8')
  }

  #take(text: string, changed: Map<string, number>): void {
    const lines = (this.#rest + text).split('\n')
    // The last one is not complete yet.
    this.#rest = lines.pop()!
    for (const line of lines) {
      if (line.trim() === '') continue
      const values = parseLine(line)
      if (values) this.#add(values, changed)
      else this.badLines += 1
    }
  }

  #add({ step, ...values }: { step: number; [name: string]: unknown }, changed: Map<string, number>): void {
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== 'number' || !Number.isFinite(value)) continue
      let series = this.series.get(name)
      if (!series) {
        series = { steps: [], values: [] }
        this.series.set(name, series)
      }
      // A run that is resumed from a checkpoint takes the steps after it again: its newer lines stand.
      if (series.steps.length > 0 && series.steps[series.steps.length - 1] >= step) {
        const at = lowerBound(series.steps, step)
        series.steps.length = at
        series.values.length = at
      }
      series.steps.push(step)
      series.values.push(value)
      changed.set(name, Math.min(changed.get(name) ?? Number.POSITIVE_INFINITY, step))
    }
  }
}

function parseLine(line: string): { step: number; [name: string]: unknown } | null {
  try {
    const value: unknown = JSON.parse(line)
    const step = typeof value === 'object' && value !== null && 'step' in value ? value.step : null
    return typeof step === 'number' && Number.isFinite(step) ? { ...(value as object), step } : null
  } catch {
    return null
  }
}

/** Index of the first step that is not below `step`. */
function lowerBound(steps: readonly number[], step: number): number {
  let low = 0
  let high = steps.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (steps[middle] < step) low = middle + 1
    else high = middle
  }
  return low
}

/** At most about `most` points: the mean of each of equal stretches of points, at the last step of each. */
export function thinned({ steps, values }: Series, most: number): Series {
  const stride = Math.ceil(steps.length / most)
  if (stride <= 1) return { steps: steps.slice(), values: values.slice() }
  const thin: Series = { steps: [], values: [] }
  for (let begin = 0; begin < steps.length; begin += stride) {
    const end = Math.min(begin + stride, steps.length)
    let sum = 0
    for (let i = begin; i < end; i++) sum += values[i]
    thin.steps.push(steps[end - 1])
    thin.values.push(sum / (end - begin))
  }
  return thin
}
