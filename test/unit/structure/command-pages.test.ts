import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { commandPages } from '../../../scripts/command-pages.js'

t.test('docs/commands holds what the command line says of itself', async (t) => {
  const folder = join(packageRoot, 'docs', 'commands')
  const pages = commandPages()
  t.same(readdirSync(folder).sort(), [...pages.keys()].sort(), 'a page a command; node dist/scripts/command-pages.js')
  for (const [name, text] of pages)
    t.equal(readFileSync(join(folder, name), 'utf8'), text, `${name}: run node dist/scripts/command-pages.js`)
})
