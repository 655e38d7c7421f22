import t from 'tap'
import { unmaskSchedule } from '../../../lib/sampling/unmask.js'

t.test('every token is fixed once, whatever the number of steps', async (t) => {
  for (const steps of [1, 2, 3, 8, 15, 40])
    for (const tokens of [0, 1, 4, 9, 81, 1024]) {
      const counts = unmaskSchedule(steps, tokens)
      t.equal(counts.length, steps)
      t.equal(
        counts.reduce((sum, n) => sum + n, 0),
        tokens,
        `${steps} steps, ${tokens} tokens`,
      )
      t.ok(counts.every((n) => Number.isInteger(n) && n >= 0))
      if (tokens >= 4 * steps)
        t.ok(
          counts.every((n, s) => s === 0 || s === steps - 1 || n >= counts[s - 1]),
          'the steps grow',
        )
    }
})

t.test('impossible numbers are refused', async (t) => {
  for (const [steps, tokens] of [
    [0, 4],
    [1.5, 4],
    [3, -1],
    [3, Number.NaN],
  ])
    t.throws(() => unmaskSchedule(steps, tokens), { code: 'ERR_ARGUMENT', message: /steps for/ })
})
