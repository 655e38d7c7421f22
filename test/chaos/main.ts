/**
 * Faults at random moments, round after round: npm run chaos -- [--cluster] [--rounds 200] [--seed N] [--fault NAME]
 * Ends with 1 where something was violated; the folder of that round is kept.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Random } from '../../lib/tensor/index.js'
import { ClusterChaos, clusterFaults } from './cluster.js'
import { faults, missingFaults, TrainingChaos } from './training.js'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    fault: { type: 'string' },
    cluster: { type: 'boolean', default: false },
  },
})
const missing = values.cluster ? new Map<string, string>() : missingFaults()
const all = Object.keys(values.cluster ? clusterFaults : faults)
const names = values.fault ? [values.fault] : all.filter((name) => !missing.has(name))
for (const [name, why] of missing) console.log(`${name}: left out, ${why}`)
const folder = mkdtempSync(join(tmpdir(), 'star-chaos-'))
const random = new Random(Number(values.seed))
console.log(`seed ${values.seed}, folder ${folder}`)
const chaos = await (values.cluster ? ClusterChaos : TrainingChaos).prepare(folder)
const survived = new Map<string, number>()
let violated = 0
for (let round = 0; round < Number(values.rounds); round++) {
  const name = names[round % names.length]
  try {
    await chaos.round(name, round, random)
    survived.set(name, (survived.get(name) ?? 0) + 1)
  } catch (error) {
    violated++
    console.log(`round ${round}, ${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
}
for (const [name, count] of survived) console.log(`${name}: ${count}`)
console.log(`${violated} of ${values.rounds} rounds violated`)
if (violated === 0) rmSync(folder, { recursive: true })
else process.exitCode = 1
