import t from 'tap'
import { scheduled } from '../../lib/optim/index.js'
import { readSafetensors64 } from '../support/golden64.js'

// The note gives the settings: "peak lr 1e-3, wd 0.05 to 0.2, warm-up 20 of 200 steps, wp0 0.005, wpe 0.01".
const { arrays, metadata } = readSafetensors64('schedules')
const number = (pattern: RegExp): number[] => pattern.exec(metadata.lr)!.slice(1).map(Number)
const [peak] = number(/peak lr ([\d.e-]+)/)
const [weightDecay, weightDecayEnd] = number(/wd ([\d.]+) to ([\d.]+)/)
const [warmupSteps, steps] = number(/warm-up (\d+) of (\d+)/)
const [warmupStart] = number(/wp0 ([\d.]+)/)
const [endRatio] = number(/wpe ([\d.]+)/)

for (const [name, rows] of arrays) {
  if (!name.startsWith('lr.')) continue
  t.test(`golden ${name}`, async (t) => {
    for (let r = 0; r < rows.length; r += 3) {
      const [step, lr, wd] = rows.slice(r, r + 3)
      const given = scheduled(name.slice(3), {
        step,
        steps,
        peak,
        warmupSteps,
        warmupStart,
        endRatio,
        weightDecay,
        weightDecayEnd,
      })
      t.ok(Math.abs(given.lr - lr) <= 1e-12 * peak, `lr at ${step}: ${given.lr}, expected ${lr}`)
      t.ok(Math.abs(given.weightDecay - wd) <= 1e-12, `weight decay at ${step}: ${given.weightDecay}, expected ${wd}`)
    }
  })
}
