/** Every file in configs/, the JSON Schema beside them, and the documentation of their keys. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { type JsonSchema, runJsonSchema } from '../../../lib/train/json-schema.js'
import { counterparts } from '../../../lib/train/published/counterparts.js'
import { readRunConfig } from '../../../lib/train/run-config.js'
import { pageFile, pageText, schemaFile, schemaText } from '../../../scripts/config-files.js'

const folder = join(packageRoot, 'configs')
const files = readdirSync(folder).filter((name) => name.endsWith('.json') && name !== 'schema.json')

for (const name of files) {
  t.test(`configs/${name} is a valid run and names the JSON Schema`, async (t) => {
    const file = join(folder, name)
    t.ok(readRunConfig(file).config.runFolder)
    t.match(JSON.parse(readFileSync(file, 'utf8')), { $schema: './schema.json' })
  })
}

t.test('what is made from the schemas is up to date (node dist/scripts/config-files.js writes it)', async (t) => {
  t.equal(readFileSync(schemaFile, 'utf8'), schemaText(), 'configs/schema.json')
  t.equal(readFileSync(pageFile, 'utf8'), pageText(), 'tables of docs/configuration.md')
})

/** Dotted names of all keys, with the schema of each. */
function keysOf({ properties = {} }: JsonSchema, prefix = ''): [string, JsonSchema][] {
  return Object.entries(properties).flatMap(([key, schema]) =>
    key === '$schema'
      ? []
      : schema.properties
        ? keysOf(schema, `${prefix}${key}.`)
        : [[prefix + key, schema] as [string, JsonSchema]],
  )
}

t.test('every key says what it means, and what stands for a published one exists', async (t) => {
  const schema = runJsonSchema()
  const own = schema.then.oneOf.flatMap((kind) => keysOf(kind))
  for (const [key, { description }] of [...own, ...keysOf(schema.else)]) t.ok(description, key)
  const known = new Set(own.map(([key]) => key))
  for (const text of Object.values(counterparts))
    for (const [, key] of text.matchAll(/`([\w.]+)`/g)) t.ok(key === 'config.json' || known.has(key), key)
})
