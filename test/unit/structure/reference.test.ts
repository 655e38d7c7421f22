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
  id: number
  name: string
  children?: Reflection[]
}

const run = promisify(execFile)

/** The ids that anything below a value of TypeDoc's JSON refers to. */
function* references(value: unknown): Generator<number> {
  if (typeof value !== 'object' || value === null) return
  if ('type' in value && value.type === 'reference' && 'target' in value && typeof value.target === 'number')
    yield value.target
  for (const inner of Object.values(value)) yield* references(inner)
}

t.test('the reference pages build without a warning, and types are exported for what values need', async (t) => {
  const file = join(t.testdir(), 'api.json')
  // Types of signatures that are not exported and public members without a comment are errors of this call.
  const outputs = ['--json', file, '--out', join(dirname(file), 'pages')]
  const { stdout, stderr } = await run(join(packageRoot, 'scripts', 'reference', 'build'), outputs)
  t.notMatch(`${stdout}${stderr}`, /warning/)
  const { children = [] } = JSON.parse(readFileSync(file, 'utf8')) as Reflection
  const values = new Set(Object.keys(library))
  t.same(
    [...values].filter((name) => !children.some((child) => child.name === name)),
    [],
    'every value is in the reference',
  )

  const needed = children.filter(({ name }) => values.has(name))
  for (const reflection of needed)
    for (const id of references(reflection)) {
      const target = children.find((child) => child.id === id)
      if (target && !needed.includes(target)) needed.push(target)
    }
  t.same(
    children.filter((child) => !needed.includes(child)).map(({ name }) => name),
    [],
    'no type is exported that no signature leads to',
  )
})
