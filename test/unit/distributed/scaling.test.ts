/** The scaling model against the models' counts and what was measured, and the tables of docs/distributed.md. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { starConfig } from '../../../lib/models/star/index.js'
import { transformerCounts } from '../../../lib/plan/index.js'
import { measurements, modelledExposure, partsOf, scalingPage, scalingText } from '../../../scripts/scaling.js'

t.test('counts are those of the model', async (t) => {
  const config = starConfig({ depth: 3, width: 128, heads: 2, patchNums: [1, 2, 4], textWidth: 64 })
  const { body, head } = transformerCounts(config)
  const total = partsOf(config, 21).reduce((sum, { count }) => sum + count, 0)
  t.equal(total, body + head)
})

for (const measured of measurements())
  t.test(`what is left of the exchange on a link of ${measured.rate}`, async (t) => {
    const modelled = modelledExposure(measured)
    t.ok(
      Math.abs(modelled - measured.exposedMs) < 0.05 * measured.exchangeMs,
      `${modelled} and ${measured.exposedMs} ms`,
    )
  })

t.test('the tables of docs/distributed.md are what the model gives', async (t) => {
  t.equal(readFileSync(scalingPage, 'utf8'), scalingText(), 'run node dist/scripts/scaling.js')
})
