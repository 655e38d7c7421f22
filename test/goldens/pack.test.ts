import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { openPack, writePack } from '../../lib/data/pack.js'
import { native } from '../../lib/native/index.js'
import { goldenFolder } from '../support/golden.js'

const folder = join(goldenFolder, 'pack')
const names = readdirSync(folder).filter((name) => readdirSync(folder).includes(`${name}-info.json`))
t.ok(names.length > 0, 'the folder holds a pack')

for (const name of names) {
  t.test(`${name}: every image and its info`, async (t) => {
    using pack = openPack(join(folder, name))
    const infos = JSON.parse(readFileSync(join(folder, `${name}-info.json`), 'utf8'))
    t.strictSame([...pack.keys], Object.keys(infos))
    for (const key of pack.keys) {
      const { width, height, format } = await sharp(pack.image(key)).metadata()
      t.strictSame({ width, height, format }, { width: infos[key].width, height: infos[key].height, format: 'png' })
      t.strictSame({ ...pack.info(key) }, infos[key])
    }
  })

  t.test(`${name}: a pack we write holds the same records, byte for byte`, async (t) => {
    const path = join(t.testdir(), name)
    using pack = openPack(join(folder, name))
    await writePack(
      path,
      pack.keys.map((key) => ({ key, info: pack.info(key), image: pack.image(key) })),
    )
    const theirs = new native.LmdbReader(join(folder, name))
    const ours = new native.LmdbReader(path)
    const keys = theirs.keys()
    t.strictSame(ours.keys(), keys)
    for (const key of keys) t.strictSame(ours.get(key), theirs.get(key), Buffer.from(key).toString('latin1'))
    theirs.close()
    ours.close()
  })
}
