import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'

t.test('flipped bits in packs, info files and tars are counted, refused or without effect', async (t) => {
  const child = join(packageRoot, 'dist', 'test', 'support', 'fuzz-pack.js')
  const { cases, counts } = JSON.parse(execFileSync(process.execPath, [child, '300 cases', '7'], { encoding: 'utf8' }))
  t.equal(cases, 300)
  for (const file of ['packs/n-000000', 'packs/n-000000-info.json', 'tars/a.tar'])
    t.ok(counts[`${file}: refused`] > 0, `${file}: refused`)
  for (const file of ['packs/n-000000', 'tars/a.tar'])
    t.ok(counts[`${file}: counted as damaged`] > 0, `${file}: counted as damaged`)
})
