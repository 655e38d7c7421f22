/** What ranks do in tests of the ranks themselves. */
import { setTimeout as delay } from 'node:timers/promises'
import { StarError } from '../../lib/native/error.js'
import type { RankFunction } from './ranks.js'

export const place: RankFunction<string, unknown> = ({ rank, size, localRank, masterAddr }, input) => ({
  rank,
  size,
  localRank,
  masterAddr,
  pid: process.pid,
  input,
  bytes: Uint8Array.of(rank),
})

export const refuse: RankFunction = ({ rank }) => {
  if (rank === 1) throw new StarError('ERR_COMM', 'rank 1 has had enough')
}

export const stay: RankFunction = async (_env, _input, tell) => {
  await tell({ pid: process.pid })
  await delay(60_000)
}
