/** Batches of one shape each: which pictures they hold, in which order, and where they go on. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Loader, type LoaderOptions, nearestBucket, preprocessImage } from '../../../lib/data/index.js'
import { writePack } from '../../../lib/data/pack.js'
import type { LoadedBatch } from '../../../lib/data/pipeline.js'
import { numberedEntry, numberedPng, writeTar } from '../../support/tiny-images.js'

const buckets = [
  { width: 8, height: 8 },
  { width: 12, height: 6 },
  { width: 6, height: 12 },
]
/** Of 14 pictures: seven squares, five wide ones and two tall ones. */
const sizes = [0, 1, 0, 2, 0, 1, 1, 0, 0, 1, 2, 0, 1, 0].map((bucket) => ({ bucket, ...buckets[bucket] }))
const bucketOf = (id: string): number => sizes[Number(id.replace('n-', ''))].bucket
const ids = ({ samples }: LoadedBatch): string[] => samples.map(({ id }) => id)

async function pack(folder: string): Promise<string> {
  const path = join(folder, 'a')
  // Twice as large as their bucket, and not of its ratio to the last pixel.
  const entries = sizes.map(({ width, height }, n) => numberedEntry(n, { width: 2 * width + 1, height: 2 * height }))
  await writePack(path, entries)
  return path
}

async function take(options: LoaderOptions, batches: number, count: number, state?: unknown): Promise<LoadedBatch[]> {
  using loader = await Loader.open(options)
  if (state !== undefined) loader.restore(state)
  const taken: LoadedBatch[] = []
  for (let i = 0; i < batches; i++) taken.push(await loader.next(count))
  return taken
}

t.test('a picture goes to the bucket of the nearest ratio', async (t) => {
  const nearest = (width: number, height: number): number => nearestBucket({ width, height }, buckets)
  t.same([nearest(500, 500), nearest(500, 200), nearest(200, 500)], [0, 1, 2])
  // Halfway between 1:1 and 2:1 lies √2.
  t.same([nearest(1414, 1000), nearest(1415, 1000), nearest(1000, 1414), nearest(1000, 1415)], [0, 1, 0, 2])
  t.equal(nearestBucket({ width: 3, height: 2 }, [buckets[1], buckets[1]]), 0, 'of equal ones the first')
})

t.test('a batch is of one shape, and an epoch has every picture once', async (t) => {
  const packs = [await pack(t.testdir())]
  const options = { packs, resolution: 8, buckets, seed: 5 }
  const batches = await take(options, 70, 3)
  for (const batch of batches) {
    const [bucket, ...others] = ids(batch).map(bucketOf)
    t.ok(others.every((other) => other === bucket))
    t.same(batch.size, buckets[bucket])
    t.ok(batch.samples.every(({ pixels }) => pixels!.length === batch.size.width * batch.size.height * 3))
  }
  t.equal(new Set(batches.map(({ size }) => size.width)).size, 3)
  // What waits for its bucket to be full belongs to the epochs before: two of each bucket at most.
  const counts = new Map<string, number>()
  for (const id of batches.flatMap(ids)) counts.set(id, (counts.get(id) ?? 0) + 1)
  t.equal(counts.size, 14)
  const times = [...counts.values()]
  t.ok(times.reduce((a, b) => a + b) === 210 && Math.min(...times) >= 14 && Math.max(...times) <= 16, `${times}`)
  const first = batches[0].samples[0]
  const { image } = numberedEntry(Number(first.id.slice(2)), {
    width: 2 * batches[0].size.width + 1,
    height: 2 * batches[0].size.height,
  })
  t.ok(Buffer.from(first.pixels!).equals(await preprocessImage(image, batches[0].size)))
  t.notSame(batches.slice(0, 5).map(ids), (await take({ ...options, seed: 6 }, 5, 3)).map(ids), 'another seed')
})

t.test('a loader goes on from any place, in batches of any size, for any number of processes', async (t) => {
  const packs = [await pack(t.testdir())]
  const options = { packs, resolution: 8, buckets, flip: 0.5, seed: 2 }
  using loader = await Loader.open(options)
  const states = [loader.state()]
  const batches: LoadedBatch[] = []
  for (let i = 0; i < 20; i++) {
    batches.push(await loader.next(4))
    states.push(JSON.parse(JSON.stringify(loader.state())))
  }
  t.ok(
    states.some((state) => new Set((state as { waiting: { epoch: number }[] }).waiting.map((w) => w.epoch)).size > 1),
    'some of what waits is of an earlier epoch',
  )
  for (const from of [0, 1, 7, 13]) {
    t.same(await take(options, 20 - from, 4, states[from]), batches.slice(from), `from batch ${from}`)
    for (const ranks of [2, 4]) {
      const parts = await Promise.all(
        Array.from({ length: ranks }, (_, rank) => take({ ...options, rank, ranks }, 20 - from, 4, states[from])),
      )
      const joined = parts[0].map((batch, i) => ({ ...batch, samples: parts.flatMap((part) => part[i].samples) }))
      t.same(joined, batches.slice(from), `${ranks} processes from batch ${from}`)
    }
  }
  const peeked = await loader.peek(6)
  t.equal(peeked.samples.length, 6)
  t.equal(new Set(ids(peeked).map(bucketOf)).size, 1)
  t.same(await loader.next(4), (await take(options, 1, 4, states[20]))[0], 'what is peeked at is not taken')
  loader.begin(3)
  t.equal((await loader.next(4)).epoch, 3)
})

t.test('a pass ends with what is left of each bucket, and begins anew', async (t) => {
  const packs = [await pack(t.testdir())]
  using loader = await Loader.open({ packs, resolution: 8, buckets, shuffle: false, once: true })
  for (let round = 0; round < 2; round++) {
    const batches: LoadedBatch[] = []
    for await (const batch of loader.pass(4)) batches.push(batch)
    t.same(
      batches.map((batch) => [batch.size.width, ids(batch).map((id) => Number(id.slice(2)))]),
      [
        [8, [0, 2, 4, 7]],
        [12, [1, 5, 6, 9]],
        [8, [8, 11, 13]],
        [12, [12]],
        [6, [3, 10]],
      ],
    )
  }
})

t.test('tars in batches of one shape, gone on with in the middle of a window', async (t) => {
  const folder = t.testdir()
  const member = (n: number): [string, Buffer | string][] => [
    [`${n}.png`, numberedPng(n, sizes[n].width, sizes[n].height)],
    [`${n}.txt`, `picture ${n}`],
  ]
  await writeTar(join(folder, 'a.tar'), Array.from({ length: 7 }, (_, n) => member(n)).flat())
  await writeTar(join(folder, 'b.tar'), Array.from({ length: 7 }, (_, n) => member(7 + n)).flat())
  const options = { tars: [folder], resolution: 8, buckets, seed: 4 }
  using loader = await Loader.open(options)
  const batches: LoadedBatch[] = []
  const states = [loader.state()]
  for (let i = 0; i < 16; i++) {
    batches.push(await loader.next(3))
    states.push(JSON.parse(JSON.stringify(loader.state())))
  }
  t.ok(batches.every((batch) => ids(batch).every((id) => bucketOf(id) === bucketOf(ids(batch)[0]))))
  t.equal(new Set(batches.flatMap(ids)).size, 14)
  for (const from of [1, 5, 9]) t.same(await take(options, 16 - from, 3, states[from]), batches.slice(from))
})

t.test('in place of a damaged picture stands the next of its shape', async (t) => {
  const packs = [await pack(t.testdir())]
  const bytes = readFileSync(packs[0])
  const { image } = numberedEntry(1, { width: 25, height: 12 })
  bytes[bytes.indexOf(image) + image.length - 20] ^= 8
  const whole = (await take({ packs, resolution: 8, buckets }, 12, 3)).map(ids)
  writeFileSync(packs[0], bytes)
  const given = (await take({ packs, resolution: 8, buckets, badShare: 0.2 }, 12, 3)).map(ids)
  t.same(
    given,
    whole.map((batch) => batch.map((id) => (id === 'n-1' ? 'n-5' : id))),
  )
})

t.test('pictures smaller than their bucket are left out, and a bucket without pictures is refused', async (t) => {
  const packs = [await pack(t.testdir())]
  const large = [{ width: 16, height: 16 }, buckets[1], { width: 14, height: 28 }]
  await t.rejects(Loader.open({ packs, resolution: 16, buckets: large }), {
    code: 'ERR_CONFIG',
    message:
      /^"data.buckets": no picture of .*a goes to 14×28 \(16×16: 7, 12×6: 5\): leave it out, or give pictures of about its ratio of sides$/,
  })
  using loader = await Loader.open({ packs, resolution: 16, buckets: large.slice(0, 2) })
  // The tall ones are 13×24, of which the square is nearest.
  t.same([loader.length, loader.leftOut], [12, { minSide: 2 }])
  using all = await Loader.open({ packs, resolution: 16, buckets: large, filters: { minSide: false } })
  t.equal(all.length, 14)
})

t.test('keys of a cache tell the sizes apart, and squares of the resolution keep theirs', async (t) => {
  const folder = t.testdir()
  const packs = [await pack(folder)]
  const options = { packs, resolution: 8, cacheFolder: join(folder, 'cache'), shuffle: false, once: true }
  const keysOf = async (more: object): Promise<Map<string, string>> => {
    using loader = await Loader.open({ ...options, ...more })
    const keys = new Map<string, string>()
    for await (const { samples } of loader.pass(4))
      for (const { id, key } of samples) keys.set(id, key!.toString('hex'))
    return keys
  }
  const [plain, shaped] = [await keysOf({ filters: { minSide: false } }), await keysOf({ buckets })]
  t.equal(shaped.size, 14)
  for (const [id, key] of shaped) t.equal(key === plain.get(id), bucketOf(id) === 0, id)
})
