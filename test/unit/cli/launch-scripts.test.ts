/** scripts/launch: shell that parses, and flags that `star launch` has. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { program } from '../../../lib/cli/main.js'
import { packageRoot } from '../../../lib/native/index.js'

const folder = join(packageRoot, 'scripts', 'launch')
const files = readdirSync(folder)
const launch = program().commands.find((command) => command.name() === 'launch')!
const known = launch.options.map(({ long }) => long)

t.test('the shell scripts parse', async (t) => {
  for (const file of files.filter((name) => !name.endsWith('.yaml')))
    t.equal(execFileSync('bash', ['-n', join(folder, file)], { encoding: 'utf8' }), '', file)
})

t.test('flags of star launch are those it has', async (t) => {
  let seen = 0
  for (const file of files) {
    const text = readFileSync(join(folder, file), 'utf8').replaceAll(/\\\n/g, ' ')
    for (const [, call] of text.matchAll(/star launch((?:\s+(?:--?[\w-]+|"?\$[^\s]+|[\w./-]+))+)/g))
      for (const [flag] of call.matchAll(/--[\w-]+/g)) {
        seen++
        t.ok(known.includes(flag), `${file}: ${flag}`)
      }
  }
  t.ok(seen >= 8, `${seen} flags`)
})
