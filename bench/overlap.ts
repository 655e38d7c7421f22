/** What `npm run bench:dist` makes of its measurements. */
import type { BucketTrace } from '../lib/distributed/gradient-exchange.js'

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
  /** What the exchange adds to a step when it runs beside backward: overlapped − compute. */
  exposedMs: number
  /** Of the exchange alone, the part that disappears: 1 − exposed/exchange. */
  hidden: number
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The medians of all rounds of all processes, and what follows from them. */
export function overlapOf(rounds: readonly Round[]): Overlap {
  const of = (figure: (round: Round) => number): number => median(rounds.map(figure))
  const buckets = rounds[0].buckets.map(({ bytes }, i) => ({
    bytes,
    readyMs: of((round) => round.buckets[i].readyMs),
    doneMs: of((round) => round.buckets[i].doneMs),
  }))
  const [computeMs, exchangeMs, overlappedMs] = [
    of((round) => round.computeMs),
    of((round) => round.exchangeMs),
    of((round) => round.overlappedMs),
  ]
  const exposedMs = overlappedMs - computeMs
  return {
    computeMs,
    exchangeMs,
    afterMs: of((round) => round.afterMs),
    overlappedMs,
    backwardMs: of((round) => round.backwardMs),
    buckets,
    bytes: buckets.reduce((sum, bucket) => sum + bucket.bytes, 0),
    exposedMs,
    hidden: 1 - exposedMs / exchangeMs,
  }
}

const ms = (value: number): string => `${value.toFixed(0)} ms`
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** Lines for people, of an exchange between `size` processes by a ring. */
export function describe(overlap: Overlap, size: number): string[] {
  const { bytes, computeMs, exchangeMs, afterMs, overlappedMs, backwardMs, buckets, exposedMs, hidden } = overlap
  // Of an all-reduce by a ring each process sends and receives 2·(n − 1)/n of the bytes.
  const sent = (bytes * 2 * (size - 1)) / size
  const rows: [string, string][] = [
    ['gradients of a process', `${megabytes(bytes)} in ${buckets.length} buckets`],
    ['sent by each process', `${megabytes(sent)} a step`],
    ['forward and backward alone', `${ms(computeMs)}, of which backward ${ms(backwardMs)}`],
    ['exchange alone', `${ms(exchangeMs)} (${((sent * 8) / exchangeMs / 1e6).toFixed(2)} Gbit/s)`],
    ['step, exchange after backward', ms(afterMs)],
    ['step, exchange beside backward', ms(overlappedMs)],
    ['left of the exchange', `${ms(exposedMs)}: ${(100 * hidden).toFixed(0)} % of it is hidden behind backward`],
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
