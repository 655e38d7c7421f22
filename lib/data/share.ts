/** How the processes that train together share a batch. */
import { StarError } from '../native/index.js'
import type { Share } from '../tensor/index.js'

export interface Processes {
  /** This process and how many there are. Default 0 of 1. */
  rank?: number
  ranks?: number
}

/**
 * The share of process r of N in a batch of B samples: [r·B/N, (r + 1)·B/N).
 * @throws ERR_ARGUMENT when the process does not exist, ERR_CONFIG when N does not divide B
 */
export function shareOf(total: number, { rank = 0, ranks = 1 }: Processes): Share {
  if (!Number.isInteger(ranks) || ranks < 1 || !Number.isInteger(rank) || rank < 0 || rank >= ranks)
    throw new StarError('ERR_ARGUMENT', `rank ${rank} of ${ranks} was given, expected 0 ≤ rank < ranks`)
  if (total % ranks !== 0)
    throw new StarError(
      'ERR_CONFIG',
      `${ranks} processes cannot share ${total} samples evenly: set "optimizer.batchSize" to a multiple of ${ranks}, or start another number of processes`,
    )
  const each = total / ranks
  return { total, begin: rank * each, end: (rank + 1) * each }
}
