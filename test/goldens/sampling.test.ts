import t from 'tap'
import { relativeError } from '../support/golden.js'
import { caseNames, expected, runCase } from '../support/golden-sampling.js'

for (const name of caseNames) {
  t.test(name, async (t) => {
    const { draws, fHat } = await runCase(name)
    const reference = expected(name)
    t.strictSame(draws, reference.draws, 'drawn tokens')
    const error = relativeError(fHat, reference.fHat)
    // The soft mix at low temperature amplifies rounding.
    t.ok(error <= (name.startsWith('smooth') ? 1e-2 : 2e-5), `f̂ differs by ${error}`)
  })
}
