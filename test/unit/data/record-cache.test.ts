import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { openPack } from '../../../lib/data/pack.js'
import { RecordCache } from '../../../lib/data/record-cache.js'
import { packageRoot } from '../../../lib/native/index.js'
import { type CacheWriterData, entryKey } from '../../support/cache-writer.js'

const key = (n: number): Buffer => createHash('sha256').update(String(n)).digest().subarray(0, 16)
const payload = (n: number): Buffer => Buffer.alloc((n * 37) % 3000, n)
const range = (begin: number, end: number): number[] => Array.from({ length: end - begin }, (_, i) => begin + i)
const fill = (cache: RecordCache, begin: number, end: number): void =>
  cache.add(range(begin, end).map((n) => [key(n), payload(n)]))
const holds = (cache: RecordCache, begin: number, end: number): boolean =>
  range(begin, end).every((n) => cache.has(key(n)) && cache.get(key(n))?.equals(payload(n)))
const writerFile = new URL('../../support/cache-writer.js', import.meta.url)

t.test('entries come back, in this process and the next', async (t) => {
  const folder = join(t.testdir(), 'cache')
  {
    using cache = new RecordCache(folder)
    t.equal(cache.count, 0)
    fill(cache, 0, 5000)
    t.equal(cache.count, 5000)
    t.ok(holds(cache, 0, 5000))
    t.notOk(cache.has(key(5001)))
    t.equal(cache.get(key(5001)), null)
    cache.add([[key(3), payload(4)]])
    t.ok(holds(cache, 3, 4), 'the first stays')
  }
  using cache = new RecordCache(folder)
  t.ok(holds(cache, 0, 5000))
  fill(cache, 4000, 6000)
  t.equal(cache.count, 6000)
  t.ok(holds(cache, 0, 6000))
})

t.test('a cache that is open twice in a process is one', async (t) => {
  const folder = t.testdir()
  using a = new RecordCache(folder)
  {
    using b = new RecordCache(folder)
    fill(a, 0, 10)
    fill(b, 5, 20)
    t.ok(holds(a, 0, 20))
    fill(a, 20, 30)
    t.ok(holds(b, 0, 30))
  }
  fill(a, 30, 40)
  t.ok(holds(a, 0, 40), 'and outlives one that is closed')
})

t.test('no entry is missed while threads and processes are writing', async (t) => {
  const folder = t.testdir()
  const [writers, each] = [4, 2000]
  using cache = new RecordCache(folder)
  const ends = range(0, writers).map((i) => {
    const workerData: CacheWriterData = { folder, begin: i * each, end: (i + 1) * each }
    if (i % 2 === 0) return once(new Worker(writerFile, { workerData }), 'exit')
    const args = [fileURLToPath(writerFile), folder, String(workerData.begin), String(workerData.end)]
    return once(spawn(process.execPath, args, { stdio: 'inherit' }), 'exit')
  })
  let ended = false
  const codes = Promise.all(ends).then((exits) => {
    ended = true
    return exits.map(([code]) => code)
  })
  while (!ended) {
    const n = cache.count - 1
    if (n >= 0) cache.get(entryKey(n))
    await nextTurn()
  }
  t.same(await codes, [0, 0, 0, 0])
  t.equal(cache.count, writers * each)
  const wrong = range(0, writers * each).filter((n) => !cache.get(entryKey(n))?.equals(Buffer.alloc(64, n)))
  t.same(wrong, [])
})

t.test('a process that is killed, or a thread that ends without closing, leaves a whole cache', async (t) => {
  const folder = t.testdir()
  let before = 0
  for (let round = 0; round < 4; round++) {
    const end = round % 2 === 0 ? startProcess() : startThread()
    let grown = 0
    for (let i = 0; i < 3000 && grown <= before + 40; i++) {
      await pause(10)
      using cache = new RecordCache(folder)
      grown = cache.count
    }
    await end()
    using cache = new RecordCache(folder)
    t.ok(cache.count > before, `round ${round}`)
    t.equal(cache.count % 4, 0, 'transactions are whole')
    t.ok(range(0, cache.count).every((n) => cache.get(entryKey(n))?.equals(Buffer.alloc(64, n))))
    before = cache.count
  }

  function startProcess(): () => Promise<unknown> {
    const writer = spawn(process.execPath, [fileURLToPath(writerFile), folder, '0', '10000000'], { stdio: 'ignore' })
    return () => {
      writer.kill('SIGKILL')
      return once(writer, 'exit')
    }
  }

  function startThread(): () => Promise<unknown> {
    const thread = new Worker(writerFile, { workerData: { folder, begin: 0, end: 10_000_000 } })
    return () => {
      const exit = once(thread, 'exit')
      thread.postMessage('end')
      return exit
    }
  }
})

t.test('the oldest entries are dropped when the limit is reached, and the file keeps to it', async (t) => {
  for (const [bytes, batch] of [
    [1360, 50],
    [43_000, 5],
  ]) {
    const folder = join(t.testdir({ 1360: {}, 43000: {} }), String(bytes))
    const limit = 8e6
    const total = Math.ceil((3 * limit) / bytes)
    {
      using cache = new RecordCache(folder, { limit })
      for (let n = 0; n < total; n += batch) cache.add(range(n, n + batch).map((n) => [key(n), Buffer.alloc(bytes, n)]))
    }
    using cache = new RecordCache(folder, { limit })
    const { count } = cache
    const last = Math.ceil(total / batch) * batch
    t.ok(count * bytes > 0.8 * limit && count * bytes < limit, `${count} entries of ${bytes}`)
    t.ok(
      range(last - count, last).every((n) => cache.get(key(n))?.equals(Buffer.alloc(bytes, n))),
      'the youngest',
    )
    t.notOk(range(0, last - count).some((n) => cache.has(key(n))))
    const { size } = statSync(join(folder, 'records.lmdb'))
    t.ok(size < 1.2 * limit, `${size} bytes on disk`)
    cache.add([[key(0), payload(0)]])
    t.ok(holds(cache, 0, 1), 'one that was dropped comes back')
  }
  using cache = new RecordCache(join(t.testdirName, 'small'), { limit: 10 })
  for (let n = 0; n < 3; n++) fill(cache, n, n + 1)
  t.equal(cache.count, 1, 'what was added last is kept however small the limit')
  t.ok(holds(cache, 2, 3))
})

t.test('files of the formats before are removed, others are not touched', async (t) => {
  const old = 'mb3k2x9z-4711-0a1b2c3d'
  const names = [`${old}.data`, `${old}.index`, 'records.mdb', 'records.mdb-lock']
  const folder = t.testdir({ ...Object.fromEntries(names.map((name) => [name, 'x'])), 'notes.data': 'mine' })
  const notes: string[] = []
  {
    using cache = new RecordCache(folder, { onNote: (note) => notes.push(note) })
    fill(cache, 0, 3)
    t.ok(holds(cache, 0, 3))
  }
  t.same(notes, [
    `${folder} held a cache of an earlier format: 4 files removed, its entries are made again when needed`,
  ])
  t.same(readdirSync(folder).sort(), ['notes.data', 'records.lmdb', 'records.lmdb-lock'])
  new RecordCache(folder, { onNote: (note) => notes.push(note) }).close()
  t.equal(notes.length, 1)
})

t.test('a damaged entry is named', async (t) => {
  const folder = t.testdir()
  {
    using cache = new RecordCache(folder)
    fill(cache, 1, 4)
  }
  const file = join(folder, 'records.lmdb')
  const bytes = readFileSync(file)
  const at = bytes.indexOf(payload(2))
  bytes[at + 40] ^= 1
  writeFileSync(file, bytes)
  using cache = new RecordCache(folder)
  t.ok(holds(cache, 1, 2))
  t.throws(() => cache.get(key(2)), { code: 'ERR_FILE', message: /records\.lmdb is damaged .*remove the folder/ })
  t.throws(() => new RecordCache('/proc/none'), { code: 'ERR_FILE' })
})

t.test('a file that would end the process is refused', async (t) => {
  const pack = readFileSync(join(packageRoot, 'test/golden/pack/demo-stara0'))
  const refused = { code: 'ERR_FILE', message: /records\.lmdb is damaged, or is no cache .*remove it/ }
  for (const content of [pack, Buffer.alloc(100_000, 7), Buffer.from('short')]) {
    const folder = t.testdir({ 'records.lmdb': content })
    t.throws(() => new RecordCache(folder), refused)
  }
  const folder = t.testdir()
  {
    using cache = new RecordCache(folder)
    fill(cache, 0, 500)
  }
  truncateSync(join(folder, 'records.lmdb'), 40_000)
  t.throws(() => new RecordCache(folder), refused)
})

t.test('a cache and packs are open side by side', async (t) => {
  const file = join(packageRoot, 'test/golden/pack/demo-stara0')
  using cache = new RecordCache(t.testdir())
  for (let round = 0; round < 20; round++) {
    using pack = openPack(file)
    const images = pack.keys.map((name): [Buffer, Uint8Array] => [
      createHash('sha256').update(`${round} ${name}`).digest().subarray(0, 16),
      pack.image(name),
    ])
    cache.add(images)
    t.ok(images.every(([key], i) => cache.get(key)!.equals(pack.image(pack.keys[i]))))
  }
  t.equal(cache.count, 120)
})
