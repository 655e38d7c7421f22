/** Metrics of token maps as a run logs them. */
import type { TokenMetrics } from '../../models/star/index.js'
import type { Metrics } from './task.js'

/**
 * Names as in the reference implementation's log: L… losses in nats, Acc… in percent; m over all scales that were computed, t of
 * the last scale, 1, 2, … of each.
 */
export function flatMetrics({ loss, accuracy, perScale }: TokenMetrics): Metrics {
  const last = perScale[perScale.length - 1]
  return {
    Lm: loss,
    Accm: accuracy,
    ...(last && { Lt: last.loss, Acct: last.accuracy }),
    ...Object.fromEntries(
      perScale.flatMap((scale, k) =>
        scale
          ? [
              [`L${k + 1}`, scale.loss],
              [`Acc${k + 1}`, scale.accuracy],
            ]
          : [],
      ),
    ),
  }
}
