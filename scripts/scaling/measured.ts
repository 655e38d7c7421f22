/** Exchanges that `npm run bench:dist -- --json` has measured, beside what the model says of them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Measured } from '../../bench/overlap.js'
import { starConfig, tokenCount } from '../../lib/models/star/index.js'
import { packageRoot } from '../../lib/native/index.js'
import { exposed, replay } from './exchange.js'
import { type Backward, backwardOf, partsOf } from './step.js'

const folder = join(packageRoot, 'scripts', 'scaling', 'measured')

/** What lies in measured/, the fastest link first. */
export const measurements = (): Measured[] =>
  readdirSync(folder)
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Measured)
    .sort((a, b) => a.exchangeMs - b.exchangeMs)

/** Milliseconds for which the exchange continues after the end of backward. */
export interface After {
  /** By the buckets' own sizes and times, one after the other. */
  replayMs: number
  /** By the formula of `exposed`. */
  formulaMs: number
}

/** @param exchangeMs of all buckets together; each takes its share by its bytes */
export function after({ buckets, bytes, backwardMs }: Measured, exchangeMs: number): After {
  const cost = (part: number): number => (part / bytes) * exchangeMs
  return {
    replayMs: replay(buckets, cost).at(-1)! - backwardMs,
    formulaMs: exposed(buckets, backwardMs, cost),
  }
}

/** The model's backward of what was measured, as long as the measured one. */
export function foretold({ model, backwardMs }: Measured): Backward {
  const config = starConfig(model)
  const parts = partsOf(config, tokenCount(config.patchNums))
  const input = { parts, recompute: false, processes: 2, dtype: 'f32' } as const
  const whole = backwardOf({ ...input, ms: (flop) => flop }).backwardMs
  return backwardOf({ ...input, ms: (flop) => (flop * backwardMs) / whole })
}

/** Largest difference between when a bucket was full and when the model says so, as a part of backward. */
export function readyDifference(measured: Measured): number {
  const { buckets } = foretold(measured)
  return Math.max(
    ...measured.buckets.map(({ readyMs }, i) => Math.abs(readyMs - buckets[i].readyMs) / measured.backwardMs),
  )
}

const ms = (value: number): string => `${value.toFixed(0)} ms`
const percent = (part: number): string => `${(100 * part).toFixed(0)} %`
/** A rate as tc takes it, for people: `400mbit` is 400 Mbit/s. */
const rateOf = ({ rate }: Measured): string => rate.replace(/(\w)bit$/, (_, unit) => ` ${unit.toUpperCase()}bit/s`)
const gigabits = (bytes: number, time: number): number => (bytes * 8) / time / 1e6

const table = (header: readonly string[], rows: readonly string[][]): string =>
  [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** For docs/distributed.md: what was measured. */
export function measuredTable(): string {
  const all = measurements()
  const rows = all.map((measured) => {
    const { bytes, backwardMs, exchangeMs, hidden, hiddenBytes, longerMs } = measured
    return [
      `${rateOf(measured)} (${gigabits(bytes, exchangeMs).toFixed(2)} Gbit/s reached)`,
      ...[backwardMs, exchangeMs].map(ms),
      ...[hidden, hiddenBytes / bytes].map(percent),
      ms(longerMs),
    ]
  })
  return table(
    ['link', 'backward', 'exchange alone', 'hidden behind backward: time', 'bytes', 'step is longer by'],
    rows,
  )
}

/** The same beside the model, then the buckets of the fastest link on links that nobody measured. */
export function replayTable(): string {
  const all = measurements()
  const row = (link: string, measured: Measured, exchangeMs: number, exposedMs?: number): string[] => {
    const { replayMs, formulaMs } = after(measured, exchangeMs)
    return [link, ms(exchangeMs), exposedMs === undefined ? '' : ms(exposedMs), ms(replayMs), ms(formulaMs)]
  }
  const rows = all.map((measured) => row(rateOf(measured), measured, measured.exchangeMs, measured.exposedMs))
  const imagined = [0.1, 0.5, 2, 10].map((rate) =>
    row(`${rate} Gbit/s, on paper`, all[0], (all[0].bytes * 8) / rate / 1e6),
  )
  return table(
    ['link', 'exchange alone', 'continues after backward: measured', 'replayed', 'by the formula'],
    [...rows, ...imagined],
  )
}

export function readySentence(): string {
  const all = measurements()
  const most = (100 * Math.max(...all.map(readyDifference))).toFixed(1)
  return (
    `The sizes of all ${all[0].buckets.length} buckets are those that the model predicts, and each was full within ${most} % of ` +
    'backward of the time foretold.'
  )
}
