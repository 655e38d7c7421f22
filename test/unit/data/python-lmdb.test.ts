import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openPack } from '../../../lib/data/pack.js'
import { packImages } from '../../../lib/data/packer.js'
import { packageRoot } from '../../../lib/native/index.js'
import { goldenFolder } from '../../support/golden.js'
import { numberedPack, numberedTar } from '../../support/tiny-images.js'

/** A Python with lmdb: $STAR_LMDB_PYTHON, the one that scripts/lmdb-venv makes, or the system's. */
const python = [
  process.env.STAR_LMDB_PYTHON ?? '',
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'star-t2i/lmdb-venv/bin/python'),
  'python3',
].find((path) => path !== '' && spawnSync(path, ['-c', 'import lmdb']).status === 0)
const skip = python === undefined && 'no Python with lmdb: scripts/lmdb-venv makes one'

interface Answer {
  keys: string[]
  hashes: Record<string, string>
  lmdbdict: boolean
}

const peer = (...args: string[]): Answer => {
  const script = join(packageRoot, 'test/support/lmdb-peer.py')
  return JSON.parse(
    execFileSync(python!, ['-B', script, ...args], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .at(-1)!,
  )
}

const hashesOf = (path: string): Record<string, string> => {
  using pack = openPack(path)
  return Object.fromEntries(pack.keys.map((key) => [key, createHash('sha256').update(pack.image(key)).digest('hex')]))
}

t.test('Python’s lmdb reads our packs', { skip }, async (t) => {
  const folder = t.testdir()
  await numberedTar(join(folder, 'in.tar'), 2500)
  const { packs } = await packImages([join(folder, 'in.tar')], {
    dataset: 'demo',
    out: join(folder, 'out'),
    limit: 2000,
  })
  for (const { name, images } of packs) {
    const path = join(folder, 'out', name)
    t.ok(existsSync(`${path}-lock`), 'by which the loader of the reference implementation finds it')
    const { keys, hashes } = peer('read', path)
    t.equal(keys.length, images)
    t.same(hashes, hashesOf(path))
  }
  const single = await numberedPack(join(folder, 'one'), 1)
  t.same(peer('read', single).hashes, hashesOf(single))
})

t.test('we read the packs of Python’s lmdb', { skip }, async (t) => {
  const path = join(t.testdir(), 'demo-000000')
  const { hashes, lmdbdict } = peer('write', path, '700')
  if (!lmdbdict) t.comment('lmdbdict is not installed: the pack was written with lmdb alone')
  t.same(hashesOf(path), hashes)
  using pack = openPack(path)
  t.equal(pack.info('demo-0699').prompt, 'image demo-0699')
})

t.test('the golden pack is one that Python reads', { skip }, async (t) => {
  const folder = join(goldenFolder, 'pack')
  const names = readdirSync(folder)
  const name = names.find((name) => names.includes(`${name}-info.json`))!
  const path = join(t.testdir(), name)
  copyFileSync(join(folder, name), path)
  copyFileSync(join(folder, `${name}-info.json`), `${path}-info.json`)
  t.ok(existsSync(path))
  t.same(peer('read', path).hashes, hashesOf(path))
})
