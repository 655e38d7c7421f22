import { appendFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { MetricsFile, thinned } from '../../../lib/server/runs/series.js'

const line = (step: number, loss: number): string => `${JSON.stringify({ step, loss })}\n`

t.test('metrics of a growing file', async (t) => {
  const file = join(t.testdir({}), 'metrics.jsonl')
  const metrics = new MetricsFile(file)
  t.same(metrics.update(), {}, 'a file that is not there yet')

  writeFileSync(file, line(1, 4) + line(2, 3))
  t.same(metrics.update(), { loss: { from: 1, steps: [1, 2], values: [4, 3] } })
  t.same(metrics.update(), {}, 'nothing new')

  appendFileSync(file, line(3, 2).slice(0, 9))
  t.same(metrics.update(), {}, 'half a line waits for its end')
  appendFileSync(file, line(3, 2).slice(9))
  t.same(metrics.update(), { loss: { from: 3, steps: [3], values: [2] } })

  appendFileSync(file, line(2, 2.5) + line(3, 2.4))
  t.same(metrics.update(), { loss: { from: 2, steps: [2, 3], values: [2.5, 2.4] } }, 'steps taken again')
  t.same(metrics.series.get('loss'), { steps: [1, 2, 3], values: [4, 2.5, 2.4] })

  appendFileSync(file, 'no JSON\n[1]\n{"loss":1}\n\n{"step":4,"loss":null,"note":"text"}\n')
  t.same(metrics.update(), {}, 'lines without values add nothing')
  t.equal(metrics.badLines, 3)

  writeFileSync(file, line(1, 9))
  t.same(metrics.update(), { loss: { from: 1, steps: [1], values: [9] } }, 'a shorter file is another one')
  t.same(metrics.series.get('loss'), { steps: [1], values: [9] })

  rmSync(file)
  t.same(metrics.update(), {}, 'a file that is gone')
})

t.test('a letter of several bytes that is written in two parts', async (t) => {
  const file = join(t.testdir({}), 'metrics.jsonl')
  const metrics = new MetricsFile(file)
  const bytes = Buffer.from('{"step":1,"größe":2}\n')
  writeFileSync(file, bytes.subarray(0, 14))
  metrics.update()
  appendFileSync(file, bytes.subarray(14))
  t.same(metrics.update(), { größe: { from: 1, steps: [1], values: [2] } })
})

t.test('thinned curves keep their mean and their end', async (t) => {
  const steps = Array.from({ length: 1001 }, (_, i) => i)
  const thin = thinned({ steps, values: steps.map((step) => step % 2) }, 100)
  t.equal(thin.steps.length, 91)
  t.equal(thin.steps.at(-1), 1000)
  t.ok(thin.values.every((value) => Math.abs(value - 0.5) < 0.06))
  t.same(thinned({ steps: [1, 2], values: [3, 4] }, 100), { steps: [1, 2], values: [3, 4] })
})
