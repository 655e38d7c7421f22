/** All golden sampling cases, or those named: node dist/test/goldens/sampling.test.js CASE… */
import t from 'tap'
import { relativeError } from '../support/golden.js'
import { caseNames, expected, runCase } from '../support/golden-sampling.js'

const named = process.argv.slice(2)
for (const name of named) if (!caseNames.includes(name)) throw new Error(`${name} is none of ${caseNames.join(', ')}`)
for (const name of named.length > 0 ? named : caseNames) {
  t.test(name, async (t) => {
    const { draws, fHat } = await runCase(name)
    const reference = expected(name)
    t.strictSame(draws, reference.draws, 'drawn tokens')
    const error = relativeError(fHat, reference.fHat)
    // The soft mix at low temperature amplifies rounding.
    t.ok(error <= (name.startsWith('smooth') ? 1e-2 : 2e-5), `f̂ differs by ${error}`)
  })
}
