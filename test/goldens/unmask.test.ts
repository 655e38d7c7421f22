import t from 'tap'
import { unmaskSchedule } from '../../lib/sampling/unmask.js'
import { readSafetensors64 } from '../support/golden64.js'

for (const [name, counts] of readSafetensors64('schedules').arrays) {
  const [kind, steps, side] = name.split('.')
  if (kind !== 'unmask') continue
  t.test(`golden ${name}`, async (t) => {
    t.strictSame(unmaskSchedule(+steps, (+side) ** 2), counts)
  })
}
