/** Every file in configs/, the JSON Schema beside them, and the documentation of their keys. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { runJsonSchema } from '../../../lib/train/json-schema.js'
import { readRunConfig } from '../../../lib/train/run-config.js'

const folder = join(packageRoot, 'configs')
const files = readdirSync(folder).filter((name) => name !== 'schema.json')

for (const name of files) {
  t.test(`configs/${name} is a valid run and names the JSON Schema`, async (t) => {
    const file = join(folder, name)
    t.ok(readRunConfig(file).config.runFolder)
    t.match(JSON.parse(readFileSync(file, 'utf8')), { $schema: './schema.json' })
  })
}

t.test('configs/schema.json is what the schemas make (node dist/scripts/config-schema.js writes it)', async (t) => {
  t.same(JSON.parse(readFileSync(join(folder, 'schema.json'), 'utf8')), runJsonSchema())
})
