/** What `npm run bench:dist` makes of its measurements. */
import type { BucketTrace } from '../lib/distributed/gradient-exchange.js'
import type { StarConfigInput } from '../lib/models/star/index.js'

/** One round of a process, in milliseconds. */
export interface Round {
  /** Forward and backward without any exchange. */
  computeMs: number
  /** The exchange alone, of gradients that are all ready. */
  exchangeMs: number
  /** Forward, backward, and then the exchange. */
  afterMs: number
  /** Forward, and backward with the exchange beside it. */
  overlappedMs: number
  /** Backward of the last. */
  backwardMs: number
  /** Of the last, after backward's begin. */
  buckets: BucketTrace[]
}

export interface Overlap extends Round {
  /** Of one process's gradients. */
  bytes: number
  /** How long the exchange continues after backward. */
  exposedMs: number
  /** Of the time of the exchange alone, what backward hides: 1 − exposed/exchange. */
  hidden: number
  /** Of buckets whose exchange was over before backward was. */
  hiddenBytes: number
  /** What the exchange beside backward adds to a step: also what it takes from backward. */
  longerMs: number
}

/** What `--json` writes. */
export interface Measured extends Overlap {
  model: StarConfigInput
  /** Of the link, as given. */
  rate: string
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const sum = (buckets: readonly { bytes: number }[]): number => buckets.reduce((all, { bytes }) => all + bytes, 0)
const exposedOf = ({ buckets, backwardMs }: Round): number => Math.max(0, buckets.at(-1)!.doneMs - backwardMs)

/** The medians of all rounds of all processes; differences and shares are those of a round, so that a machine's mood cancels out. */
export function overlapOf(rounds: readonly Round[]): Overlap {
  const of = (figure: (round: Round) => number): number => median(rounds.map(figure))
  const buckets = rounds[0].buckets.map(({ bytes }, i) => ({
    bytes,
    readyMs: of((round) => round.buckets[i].readyMs),
    doneMs: of((round) => round.buckets[i].doneMs),
  }))
  return {
    computeMs: of((round) => round.computeMs),
    exchangeMs: of((round) => round.exchangeMs),
    afterMs: of((round) => round.afterMs),
    overlappedMs: of((round) => round.overlappedMs),
    backwardMs: of((round) => round.backwardMs),
    buckets,
    bytes: sum(buckets),
    exposedMs: of(exposedOf),
    hidden: of((round) => 1 - exposedOf(round) / round.exchangeMs),
    hiddenBytes: of(({ buckets, backwardMs }) => sum(buckets.filter(({ doneMs }) => doneMs <= backwardMs))),
    longerMs: of(({ overlappedMs, computeMs }) => overlappedMs - computeMs),
  }
}

const ms = (value: number): string => `${value.toFixed(0)} ms`
const percent = (part: number): string => `${(100 * part).toFixed(0)} %`
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** Lines for people, of an exchange between `size` processes by a ring. */
export function describe(overlap: Overlap, size: number): string[] {
  const { bytes, computeMs, exchangeMs, afterMs, overlappedMs, backwardMs, buckets } = overlap
  const { exposedMs, hidden, hiddenBytes, longerMs } = overlap
  // Of an all-reduce by a ring each process sends and receives 2·(n − 1)/n of the bytes.
  const sent = (bytes * 2 * (size - 1)) / size
  const rows: [string, string][] = [
    ['gradients of a process', `${megabytes(bytes)} in ${buckets.length} buckets`],
    ['sent by each process', `${megabytes(sent)} a step`],
    ['forward and backward alone', ms(computeMs)],
    ['exchange alone', `${ms(exchangeMs)} (${((sent * 8) / exchangeMs / 1e6).toFixed(2)} Gbit/s)`],
    ['step, exchange after backward', ms(afterMs)],
    [
      'step, exchange beside backward',
      `${ms(overlappedMs)}, of which backward ${ms(backwardMs)}; longer by ${ms(longerMs)} than without any`,
    ],
    ['hidden behind backward', `${percent(hidden)} of the time, ${percent(hiddenBytes / bytes)} of the bytes`],
    ['continues after backward', ms(exposedMs)],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`),
    '',
    'bucket      bytes    ready     done   after the begin of backward',
    ...buckets.map(({ bytes: size, readyMs, doneMs }, i) =>
      [String(i).padStart(6), megabytes(size).padStart(10), ms(readyMs).padStart(8), ms(doneMs).padStart(8)].join(' '),
    ),
  ]
}
