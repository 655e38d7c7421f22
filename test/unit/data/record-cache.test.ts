import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { RecordCache } from '../../../lib/data/record-cache.js'
import { type CacheWriterData, entryKey } from '../../support/cache-writer.js'

const key = (n: number): Buffer => createHash('sha256').update(String(n)).digest().subarray(0, 16)
const payload = (n: number): Buffer => Buffer.alloc((n * 37) % 3000, n)
const fill = (cache: RecordCache, begin: number, end: number): void => {
  for (let n = begin; n < end; n++) cache.put(key(n), payload(n))
}
const holds = (cache: RecordCache, begin: number, end: number): boolean => {
  for (let n = begin; n < end; n++) if (!cache.get(key(n))?.equals(payload(n))) return false
  return true
}

t.test('entries come back, in this process and the next', async (t) => {
  const folder = join(t.testdir(), 'cache')
  {
    using cache = new RecordCache(folder)
    t.same(readdirSync(folder), [], 'nothing is written before the first entry')
    fill(cache, 0, 5000)
    t.equal(cache.count, 5000)
    t.ok(holds(cache, 0, 5000))
    t.equal(cache.get(key(5001)), null)
    cache.put(key(3), payload(4))
    t.ok(holds(cache, 3, 4), 'the first stays')
  }
  using cache = new RecordCache(folder)
  t.ok(holds(cache, 0, 5000))
  fill(cache, 4000, 6000)
  t.equal(cache.count, 6000)
  t.equal(readdirSync(folder).length, 4, 'a segment for each process')
})

t.test('processes see what others add', async (t) => {
  const folder = t.testdir()
  using a = new RecordCache(folder)
  using b = new RecordCache(folder)
  fill(a, 0, 10)
  fill(b, 5, 20)
  t.notOk(a.has(key(15)))
  a.refresh()
  b.refresh()
  t.ok(holds(a, 0, 20))
  fill(a, 20, 30)
  b.refresh()
  t.ok(holds(b, 0, 30))
})

t.test('no entry is missed while others are writing', async (t) => {
  const folder = t.testdir()
  const [writers, each] = [3, 4000]
  using cache = new RecordCache(folder)
  const threads = Array.from({ length: writers }, (_, i) => {
    const workerData: CacheWriterData = { folder, begin: i * each, end: (i + 1) * each }
    return new Worker(new URL('../../support/cache-writer.js', import.meta.url), { workerData })
  })
  let ended = 0
  const ends = threads.map(async (thread) => {
    await once(thread, 'exit')
    ended++
  })
  while (ended < writers) {
    for (let i = 0; i < 20; i++) cache.refresh()
    await nextTurn()
  }
  await Promise.all(ends)
  cache.refresh()
  t.equal(cache.count, writers * each)
  const wrong = Array.from({ length: writers * each }, (_, n) => n).filter(
    (n) => !cache.get(entryKey(n))?.equals(Buffer.alloc(64, n)),
  )
  t.same(wrong, [])
})

t.test('what a killed process left half-written is passed over', async (t) => {
  const folder = t.testdir()
  {
    using cache = new RecordCache(folder)
    fill(cache, 0, 10)
  }
  const [data, index] = ['.data', '.index'].map((end) =>
    join(folder, readdirSync(folder).find((name) => name.endsWith(end))!),
  )
  truncateSync(index, 32 * 9 + 13)
  truncateSync(data, readFileSync(data).length - payload(9).length - 5)
  using cache = new RecordCache(folder)
  t.ok(holds(cache, 0, 8))
  t.equal(cache.count, 8)
  fill(cache, 0, 10)
  t.ok(holds(cache, 0, 10))
})

t.test('a damaged entry is named', async (t) => {
  const folder = t.testdir()
  {
    using cache = new RecordCache(folder)
    fill(cache, 1, 4)
  }
  const data = join(folder, readdirSync(folder).find((name) => name.endsWith('.data'))!)
  const bytes = readFileSync(data)
  bytes[40] ^= 1
  writeFileSync(data, bytes)
  using cache = new RecordCache(folder)
  t.ok(holds(cache, 1, 2))
  t.throws(() => cache.get(key(2)), { code: 'ERR_FILE', message: /\.data is damaged .*remove the folder/ })
  t.throws(() => new RecordCache('/proc/none'), { code: 'ERR_FILE' })
})
