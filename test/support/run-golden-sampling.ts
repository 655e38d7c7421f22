/** Prints a digest of tokens and f̂ of golden sampling cases: node run-golden-sampling.js CASE… */
import { createHash } from 'node:crypto'
import { runCase } from './golden-sampling.js'

for (const name of process.argv.slice(2)) {
  const { draws, fHat } = await runCase(name)
  const hash = createHash('sha256').update(Int32Array.from(draws)).update(new Uint8Array(fHat.buffer))
  console.log(`${name} ${draws.length} ${hash.digest('hex')}`)
}
