/** What `npm run bench:dist` makes of its measurements, on rounds that were made up. */
import t from 'tap'
import { describe, overlapOf, type Round } from '../../../bench/overlap.js'

const round = (changes: Partial<Round> = {}): Round => ({
  ...{ computeMs: 100, exchangeMs: 50, afterMs: 150, overlappedMs: 120, backwardMs: 70 },
  buckets: [
    { bytes: 1e6, readyMs: 10, doneMs: 30 },
    { bytes: 3e6, readyMs: 40, doneMs: 70 },
    { bytes: 4e6, readyMs: 70, doneMs: 80 },
  ],
  ...changes,
})

t.test('what backward hides of an exchange', async (t) => {
  const overlap = overlapOf([round()])
  t.equal(overlap.bytes, 8e6)
  t.equal(overlap.exposedMs, 10)
  t.equal(overlap.hidden, 0.8)
  t.equal(overlap.hiddenBytes, 4e6)
  t.equal(overlap.longerMs, 20)
})

t.test('figures are medians, differences those of a round', async (t) => {
  const slow = { computeMs: 1000, overlappedMs: 1025, backwardMs: 700 }
  const overlap = overlapOf([round(), round(slow), round({ overlappedMs: 130 })])
  t.equal(overlap.computeMs, 100)
  t.equal(overlap.overlappedMs, 130)
  // 20, 25 and 30; in the slow round all buckets were over long before backward was.
  t.equal(overlap.longerMs, 25)
  t.equal(overlap.exposedMs, 10)
  t.equal(overlapOf([round(slow)]).exposedMs, 0)
  t.equal(overlapOf([round(slow)]).hidden, 1)
})

t.test('the lines for people', async (t) => {
  const lines = describe(overlapOf([round()]), 2).join('\n')
  t.match(lines, /gradients of a process +8\.0 MB in 3 buckets/)
  t.match(lines, /hidden behind backward +80 % of the time, 50 % of the bytes/)
  // 8 MB in 50 ms.
  t.match(lines, /exchange alone +50 ms \(1\.28 Gbit\/s\)/)
})
