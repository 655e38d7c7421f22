/** The public interface: what signatures name is exported, all of it is documented, and nothing is exported that none of them needs. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import * as library from '../../../lib/index.js'
import { packageRoot } from '../../../lib/native/index.js'

/** What TypeDoc writes of a declaration, as far as it is looked at here. */
interface Reflection {
  name: string
  children?: Reflection[]
}

const run = promisify(execFile)

t.test('the reference pages build without a warning, and types are exported for what values need', async (t) => {
  const file = join(t.testdir(), 'api.json')
  // Types of signatures that are not exported and public members without a comment are errors of this call.
  const outputs = ['--json', file, '--out', join(dirname(file), 'pages')]
  const { stdout, stderr } = await run(join(packageRoot, 'scripts', 'reference', 'build'), outputs)
  t.notMatch(`${stdout}${stderr}`, /\[warning\]/)
  const { children = [] } = JSON.parse(readFileSync(file, 'utf8')) as Reflection
  const values = new Set(Object.keys(library))
  t.same(
    [...values].filter((name) => !children.some((child) => child.name === name)),
    [],
    'every value is in the reference',
  )

  // TypeDoc writes unions and inferred types in full, so the declarations themselves are asked what leads where.
  const unneeded = await run(process.execPath, [join(packageRoot, 'scripts', 'reference', 'unneeded.mjs')])
  t.same(JSON.parse(unneeded.stdout), [], 'no type is exported that no signature leads to')
})
