import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { runSchema } from '../../../lib/train/index.js'
import { readConfigFile } from '../../../lib/train/parse-config.js'

const folder = join(packageRoot, 'configs')

for (const name of readdirSync(folder)) {
  t.test(`configs/${name} is a valid run`, async (t) => {
    const config = readConfigFile(runSchema, join(folder, name))
    t.ok(config.runFolder)
  })
}
