/** The clock on paper of a rehearsal: what each part gives to the device, and how long a card takes for it at least. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadSimt } from '../native/devices.js'
import { native } from '../native/index.js'
import { type CardName, cards, costliest, type DeviceRecord, type PartTime, partTime } from '../plan/index.js'
import type { RehearsalOptions, Rehearsed } from './rehearsal.js'

export interface TimePlan {
  parts: PartTime[]
  /** Expected seconds of all parts together. */
  seconds: number
  /** Bytes of device memory that tensors take at most at once. */
  peakBytes: number
  /** The three kinds of work that take longest, in seconds. */
  costliest: [string, number][]
}

export interface ClockOptions {
  card: CardName
  /** Parts that are launched as recorded graphs. */
  recorded?: boolean
  /** Parts that are no work of the run itself, such as making random weights. */
  ignore?: readonly string[]
}

/**
 * Walks through `run` on the device `simt` in its audit, which computes nothing, and tells the time of each part.
 * @throws ERR_DEVICE without native/simt, and for what the card would refuse; ERR_MEMORY where its memory does not suffice
 */
export async function timeOnPaper(
  { card, recorded = false, ignore = [] }: ClockOptions,
  run: (options: RehearsalOptions) => Promise<Rehearsed>,
): Promise<TimePlan> {
  const folder = mkdtempSync(join(tmpdir(), 'star-clock-'))
  const file = join(folder, 'record')
  const environment = {
    STAR_SIMT_AUDIT: '1',
    STAR_SIMT_RECORD: file,
    STAR_SIMT_MACHINE: `capability=${cards[card].capability}`,
  }
  const before = Object.keys(environment).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, environment)
  try {
    const device = loadSimt()
    const names: string[] = []
    native.synchronize(device) // what came before is none of the run
    const first = recordsOf(file).length
    const { peakBytes } = await run({
      device,
      onPart: (part) => {
        names.push(part)
        native.synchronize(device)
      },
    })
    const all = recordsOf(file).slice(first)
    const counted = names.map((name, i) => ({ name, record: all[i] })).filter(({ name }) => !ignore.includes(name))
    const parts = counted.map(({ name, record }) => partTime(name, record, card, recorded))
    return {
      parts,
      seconds: parts.reduce((sum, { seconds }) => sum + seconds, 0),
      peakBytes,
      costliest: costliest(
        counted.map(({ record }) => record),
        card,
        recorded,
      ),
    }
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Without a file yet the device was never opened. */
function recordsOf(file: string): DeviceRecord[] {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as DeviceRecord)
}
