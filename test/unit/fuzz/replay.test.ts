/** Every input that fuzzing begins with, and every one it has found, is read or refused as it should be. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { Mutator } from '../../fuzz/mutate.js'
import { kindOf } from '../../fuzz/target.js'
import { targets } from '../../fuzz/targets/index.js'

const seeds = join(packageRoot, 'test', 'fuzz', 'seeds')
/** Damaged inputs of each target, the same on every run; `npm run fuzz` tries others. */
const damagedInputs = 30

for (const [name, target] of targets)
  t.test(name, async (t) => {
    const scratch = join(t.testdir(), 'files')
    mkdirSync(scratch)
    const run = await target.open(scratch)
    const own = await target.seeds()
    const kinds = new Set<string>()
    for (const input of own) kinds.add(await kindOf(run, input))
    t.ok(
      own.length > 0 && [...kinds].some((kind) => !kind.startsWith('ERR_')),
      `sound inputs: ${[...kinds].join(', ')}`,
    )
    const folder = join(seeds, name)
    const found = existsSync(folder) ? readdirSync(folder) : []
    for (const file of found) await kindOf(run, readFileSync(join(folder, file)))
    const mutator = new Mutator(1, target.pieces)
    for (let i = 0; i < damagedInputs; i++) await kindOf(run, mutator.mutate(mutator.pick(own), own))
    await run.close?.()
    t.pass(`${own.length + found.length + damagedInputs} inputs`)
  })

t.test('seeds are those of targets', async (t) => {
  const names = readdirSync(seeds, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  t.same(
    names.map((entry) => entry.name).filter((name) => !targets.has(name) && !name.startsWith('native-')),
    [],
  )
})
