import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type ImageInfo, openPack, type PackEntry, writePack, writePacks } from '../../../lib/data/pack.js'
import { pickle } from '../../../lib/data/pickle.js'
import { native } from '../../../lib/native/index.js'

const refused = (message: RegExp) => ({ name: 'StarError', code: 'ERR_FILE', message })
const info = (i: number): ImageInfo => ({
  id: String(i),
  basename: `${i}.png`,
  prompt: `image ${i}`,
  width: 8,
  height: 9,
})
const imageOf = (i: number, bytes: number) => Uint8Array.from({ length: bytes }, (_, k) => (k * 31 + i) & 255)

function* entries(count: number, bytes = (i: number) => (i * 37) % 9000): Generator<PackEntry> {
  for (let i = 0; i < count; i++) yield { key: `demo-${i}`, info: info(i), image: imageOf(i, bytes(i)) }
}

/** An LMDB file with these entries as they are. */
function writeRaw(path: string, values: Record<string, Uint8Array>, infos: unknown = {}): string {
  const writer = new native.LmdbWriter(path)
  for (const [key, value] of Object.entries(values)) writer.put(Buffer.from(key), value)
  writer.finish()
  writer.close()
  writeFileSync(`${path}-info.json`, typeof infos === 'string' ? infos : JSON.stringify(infos))
  return path
}

t.test('thousands of images of all sizes come back, in order', async (t) => {
  const folder = join(t.testdir(), 'made')
  const path = join(folder, 'demo-000000')
  t.same(await writePack(path, entries(2500)), { count: 2500 })
  t.same(readdirSync(folder).sort(), ['demo-000000', 'demo-000000-info.json', 'demo-000000-lock'])
  using pack = openPack(path)
  t.same(
    pack.keys,
    Array.from({ length: 2500 }, (_, i) => `demo-${i}`),
  )
  for (let i = 0; i < 2500; i += 41) {
    t.ok(Buffer.from(imageOf(i, (i * 37) % 9000)).equals(pack.image(`demo-${i}`)), `image ${i}`)
    t.same(pack.info(`demo-${i}`), info(i))
  }
  t.throws(() => pack.image('demo-x'), refused(/holds no image "demo-x"/))
  t.throws(() => pack.image('x'.repeat(600)), refused(/holds no image/))
  t.throws(() => pack.info('demo-x'), refused(/has no entry "demo-x"/))
})

t.test('a pack that outgrows its first map is written whole', async (t) => {
  const path = join(t.testdir(), 'big')
  await writePack(
    path,
    entries(30, () => 5_000_000),
  )
  using pack = openPack(path)
  for (const i of [0, 13, 29]) t.ok(Buffer.from(imageOf(i, 5_000_000)).equals(pack.image(`demo-${i}`)), `image ${i}`)
})

t.test('an empty pack is a pack', async (t) => {
  const path = join(t.testdir(), 'none')
  await writePack(path, [])
  using pack = openPack(path)
  t.same(pack.keys, [])
})

t.test('data sets are cut into packs', async (t) => {
  const folder = t.testdir()
  const { paths, count } = await writePacks(folder, 'demo', entries(7), { limit: 3 })
  t.equal(count, 7)
  t.same(
    paths,
    [0, 1, 2].map((n) => join(folder, `demo-00000${n}`)),
  )
  t.same(
    paths.map((path) => openPack(path).keys.length),
    [3, 3, 1],
  )
})

t.test('an error half-way leaves what was there before', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'demo-000000')
  await writePack(path, entries(3))
  const before = readFileSync(path)
  async function* broken(): AsyncGenerator<PackEntry> {
    yield* entries(5)
    throw new Error('the source broke')
  }
  await t.rejects(writePack(path, broken()), { message: 'the source broke' })
  await t.rejects(writePack(path, [...entries(1), ...entries(1)]), { code: 'ERR_ARGUMENT', message: /given twice/ })
  const long = { key: 'k'.repeat(600), info: info(0), image: new Uint8Array(1) }
  await t.rejects(writePack(path, [long]), { code: 'ERR_ARGUMENT', message: /key of \d+ bytes/ })
  t.same(readdirSync(folder).sort(), ['demo-000000', 'demo-000000-info.json', 'demo-000000-lock'])
  t.ok(readFileSync(path).equals(before))
  await t.rejects(writePack('/proc/demo-000000', entries(1)), refused(/cannot be written/))
})

t.test('what is no pack is refused with the reason', async (t) => {
  const folder = t.testdir({ text: 'this is not a database\n'.repeat(1000), short: 'x', empty: '' })
  const at = (name: string) => join(folder, name)
  const keys = pickle(['a'])
  const cases: [string, string, RegExp][] = [
    ['a missing file', at('missing'), /cannot be opened/],
    ['a folder', folder, /not a regular file/],
    ['an empty file', at('empty'), /is empty/],
    ['a short file', at('short'), /shorter than its headers/],
    ['a text file', at('text'), /not an LMDB file/],
    ['no __keys__', writeRaw(at('a'), { x: pickle(null) }), /not a pack \(it has no __keys__\)/],
    ['keys that are no list', writeRaw(at('b'), { __keys__: pickle('a') }), /not a list of texts/],
    ['keys that are no pickle', writeRaw(at('c'), { __keys__: Buffer.from('junk') }), /entry "__keys__".*pickled/],
    [
      'functions of its own',
      writeRaw(at('d'), { __keys__: keys, __value_loads__: pickle('f') }),
      /__value_loads__ is set/,
    ],
    ['an info file that is no JSON', writeRaw(at('e'), { __keys__: keys }, '{"a": '), /e-info.json is not JSON/],
    ['an info file that is a list', writeRaw(at('f'), { __keys__: keys }, []), /not a JSON object/],
    ['an info without sizes', writeRaw(at('g'), { __keys__: keys }, { a: {} }), /"a" has no width and height/],
  ]
  for (const [name, path, message] of cases) t.throws(() => openPack(path), refused(message), name)
  const noInfo = writeRaw(at('h'), { __keys__: keys })
  copyFileSync(noInfo, at('i'))
  t.throws(() => openPack(at('i')), refused(/i-info.json cannot be read/))
  using pack = openPack(
    writeRaw(at('j'), { __keys__: keys, [Buffer.from(pickle('a')).toString('latin1')]: pickle('a') }),
  )
  t.throws(() => pack.image('a'), refused(/holds no image/))
})

t.test('another data format of LMDB, key options and a cut are named', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'pack')
  await writePack(path, entries(3))
  const bytes = readFileSync(path)
  const changed = (change: (copy: Buffer) => void) => {
    const copy = Buffer.from(bytes)
    change(copy)
    writeFileSync(join(folder, 'changed'), copy)
    return join(folder, 'changed')
  }
  const version = changed((b) => {
    b.writeUInt32LE(2, 20)
  })
  t.throws(() => openPack(version), refused(/data format 2, expected format 1/))
  const flags = changed((b) => {
    for (const page of [0, 4096]) b.writeUInt16LE(0x04, page + 16 + 24 + 48 + 4)
  })
  t.throws(() => openPack(flags), refused(/key options \(flags 0x4\)/))
  const cut = changed(() => {})
  writeFileSync(cut, bytes.subarray(0, 8192))
  t.throws(() => openPack(cut), refused(/cut off/))
})

t.test('a closed reader and writer refuse work', async (t) => {
  const path = join(t.testdir(), 'pack')
  await writePack(path, entries(1))
  const pack = openPack(path)
  pack.close()
  pack.close()
  t.throws(() => pack.image('demo-0'), { code: 'ERR_ARGUMENT', message: /after it was closed/ })
  const writer = new native.LmdbWriter(`${path}-new`)
  writer.finish()
  t.throws(() => writer.put(Buffer.from('a'), Buffer.from('b')), { code: 'ERR_ARGUMENT' })
  writer.close()
  t.throws(() => writer.finish(), { code: 'ERR_ARGUMENT' })
  t.ok(existsSync(`${path}-new`))
})
