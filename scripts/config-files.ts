/**
 * Writes what is made from the schemas of run configurations: configs/schema.json, by which editors complete and check files,
 * and the tables of docs/configuration.md.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'
import { runJsonSchema } from '../lib/train/json-schema.js'
import { counterparts } from '../lib/train/published/counterparts.js'
import { ownTables, publishedTable, withTables } from './config-tables.js'

export const schemaFile = join(packageRoot, 'configs', 'schema.json')
export const pageFile = join(packageRoot, 'docs', 'configuration.md')

export const schemaText = (): string => `${JSON.stringify(runJsonSchema(), null, 2)}\n`

/** The page as it stands, with the tables of today's schemas. */
export function pageText(): string {
  const schema = runJsonSchema()
  return withTables(readFileSync(pageFile, 'utf8'), {
    'keys of this program': ownTables(schema.then.oneOf),
    'keys of the reference implementation': publishedTable(schema.else, counterparts),
  })
}

if (process.argv[1] === import.meta.filename) {
  writeFileAtomic(schemaFile, Buffer.from(schemaText()))
  writeFileAtomic(pageFile, Buffer.from(pageText()))
}
