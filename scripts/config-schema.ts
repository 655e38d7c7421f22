/** Writes configs/schema.json, the JSON Schema by which editors complete and check run configurations. */
import { join } from 'node:path'
import { writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'
import { runJsonSchema } from '../lib/train/json-schema.js'

writeFileAtomic(
  join(packageRoot, 'configs', 'schema.json'),
  Buffer.from(`${JSON.stringify(runJsonSchema(), null, 2)}\n`),
)
