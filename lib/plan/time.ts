/**
 * The clock on paper: how long a part of a run takes at least on a card, from what it gives to the device. A record is what
 * native/simt writes where STAR_SIMT_RECORD names a file.
 */
import type { DType } from '../tensor/index.js'
import { type CardName, cards, launchSeconds, rateOf, reached, waitSeconds } from './cards.js'

/** All calls of an op with one shape and type. */
export interface RecordedOp {
  op: string
  shape: string
  dtype: DType
  calls: number
  /** Of matrix products: two a multiplication and addition. */
  operations: number
  /** That must be read and written once. */
  bytes: number
  /** Of our kernels, and calls of NVIDIA's libraries. */
  launches: number
  libraryCalls: number
}

export interface DeviceRecord {
  ops: readonly RecordedOp[]
  /** How often the host waited for the device. */
  hostWaits: number
  graphLaunches: number
}

export interface PartTime {
  part: string
  /** Expected seconds. */
  seconds: number
  operations: number
  /** Share of the operations that run on tensor cores, 0 to 1. */
  tensorCores: number
  bytes: number
  launches: number
  hostWaits: number
}

/** An op takes what its products, its bytes and its launches take, whichever is longest. */
export function opSeconds(op: RecordedOp, card: CardName, recorded: boolean): number {
  const launches = op.launches + op.libraryCalls
  return Math.max(
    op.operations / rateOf(card, op.op, op.dtype),
    op.bytes / (cards[card].bandwidth * reached.bandwidth),
    launches * launchSeconds[recorded ? 'recorded' : 'eager'],
  )
}

const onTensorCores = ({ op, dtype }: RecordedOp): boolean => dtype !== 'f32' && op !== 'gumbel_mix'

/** @param recorded the part runs as a recorded graph */
export function partTime(part: string, record: DeviceRecord, card: CardName, recorded = false): PartTime {
  const sum = (f: (op: RecordedOp) => number): number => record.ops.reduce((total, op) => total + f(op), 0)
  const operations = sum((op) => op.operations)
  return {
    part,
    seconds: sum((op) => opSeconds(op, card, recorded)) + record.hostWaits * waitSeconds,
    operations,
    tensorCores: operations > 0 ? sum((op) => (onTensorCores(op) ? op.operations : 0)) / operations : 0,
    bytes: sum((op) => op.bytes),
    launches: sum((op) => op.launches + op.libraryCalls),
    hostWaits: record.hostWaits,
  }
}

/** The three kinds of work that take longest over all parts. */
export function costliest(records: readonly DeviceRecord[], card: CardName, recorded = false): [string, number][] {
  const seconds = new Map<string, number>()
  for (const { ops } of records)
    for (const op of ops) {
      const name = `${op.op} ${op.dtype}`
      seconds.set(name, (seconds.get(name) ?? 0) + opSeconds(op, card, recorded))
    }
  return [...seconds].sort(([, a], [, b]) => b - a).slice(0, 3)
}
