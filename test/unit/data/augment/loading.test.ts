import { join } from 'node:path'
import t from 'tap'
import { Loader, type LoaderOptions, writePack } from '../../../../lib/data/index.js'
import type { LoadedBatch } from '../../../../lib/data/pipeline.js'
import { encodePng } from '../../../../lib/data/png.js'
import { RecordCache } from '../../../../lib/data/record-cache.js'

const side = 24
const colours: Record<string, [number, number, number]> = {
  red: [220, 30, 30],
  blue: [40, 90, 220],
  green: [30, 170, 60],
}

/** Twelve boxes on white, of three colours, in pictures of some sizes in turn. */
async function boxes(path: string, sizes = [{ width: side, height: side }]): Promise<string> {
  const entries = Array.from({ length: 12 }, (_, n) => {
    const [name, rgb] = Object.entries(colours)[n % 3]
    const { width, height } = sizes[n % sizes.length]
    const pixels = new Uint8Array(width * height * 3).fill(255)
    for (let y = 4; y < height - 4; y++)
      for (let x = 3; x < Math.min(8 + n, width - 2); x++) pixels.set(rgb, 3 * (width * y + x))
    const info = { id: `${n}`, basename: `${n}.png`, prompt: `a ${name} box`, caption: 'a box', width, height }
    return { key: `n-${n}`, info, image: encodePng({ width, height, data: pixels }) }
  })
  await writePack(path, entries)
  return path
}

const augment = { variants: 5, shift: 0.1, scale: 0.8, flip: 0.5, background: 0.5, hue: 0.5 }

/** With pixels as text, which is compared much faster. */
const texts = (batches: readonly LoadedBatch[]) =>
  batches.map(({ samples, epoch }) => ({
    epoch,
    samples: samples.map(({ pixels, ...rest }) => ({
      ...rest,
      pixels: pixels && Buffer.from(pixels).toString('base64'),
    })),
  }))

async function take(options: LoaderOptions, batches: number, size: number, state?: unknown): Promise<LoadedBatch[]> {
  using loader = await Loader.open(options)
  if (state !== undefined) loader.restore(state)
  const taken: LoadedBatch[] = []
  for (let i = 0; i < batches; i++) taken.push(await loader.next(size))
  return taken
}

t.test('versions are drawn for each place in the order, whoever takes it and from wherever', async (t) => {
  const packs = [await boxes(join(t.testdir(), 'a'))]
  const options = { packs, resolution: side, seed: 3, augment }
  using loader = await Loader.open(options)
  const states = [loader.state()]
  const batches: LoadedBatch[] = []
  for (let i = 0; i < 10; i++) {
    batches.push(await loader.next(8))
    states.push(loader.state())
  }
  for (const from of [0, 3, 8])
    t.same(texts(await take(options, 10 - from, 8, states[from])), texts(batches.slice(from)), `from ${from}`)
  for (const ranks of [2, 4]) {
    const parts = await Promise.all(
      Array.from({ length: ranks }, (_, rank) => take({ ...options, rank, ranks }, 10, 8)),
    )
    const joined = batches.map(({ epoch, size }, i) => ({
      epoch,
      size,
      samples: parts.flatMap((part) => part[i].samples),
    }))
    t.same(texts(joined), texts(batches), `${ranks} processes`)
  }
  const kinds = new Map<string, Set<string>>()
  for (const { id, pixels } of batches.flatMap(({ samples }) => samples))
    kinds.set(id, (kinds.get(id) ?? new Set()).add(Buffer.from(pixels!).toString('base64')))
  const counts = [...kinds.values()].map(({ size }) => size)
  t.ok(Math.max(...counts) <= augment.variants && counts.some((n) => n > 2), `${counts} versions`)
  const captions = new Set(batches.flatMap(({ samples }) => samples.map((sample) => sample.captions[0])))
  t.ok([...captions].some((caption) => /background$/.test(caption)))
  const other = await take({ ...options, seed: 4 }, 1, 8)
  t.notSame(texts(other), texts(batches.slice(0, 1)), 'another seed draws others')
})

t.test('beside buckets, each version has the shape of its batch', async (t) => {
  const folder = t.testdir()
  const buckets = [
    { width: side, height: side },
    { width: 32, height: 16 },
    { width: 16, height: 32 },
  ]
  const packs = [await boxes(join(folder, 'a'), buckets)]
  const options = { packs, resolution: side, buckets, seed: 3, augment, cacheFolder: join(folder, 'cache') }
  using loader = await Loader.open(options)
  const states = [loader.state()]
  const batches: LoadedBatch[] = []
  for (let i = 0; i < 12; i++) {
    batches.push(await loader.next(4))
    states.push(JSON.parse(JSON.stringify(loader.state())))
  }
  for (const { samples, size } of batches)
    for (const { id, pixels } of samples) {
      t.same(size, buckets[Number(id.slice(2)) % 3])
      t.equal(pixels!.length, size.width * size.height * 3)
    }
  const drawn = batches.flatMap(({ samples }) => samples)
  t.ok(new Set(drawn.map(({ key }) => key!.toString('hex'))).size > 24, 'versions of the twelve')
  t.ok(drawn.some(({ captions }) => /background$/.test(captions[0])))
  for (const from of [0, 5])
    t.same(texts(await take(options, 12 - from, 4, states[from])), texts(batches.slice(from)), `from ${from}`)
  const parts = await Promise.all([0, 1].map((rank) => take({ ...options, rank, ranks: 2 }, 12, 4)))
  const joined = batches.map((batch, i) => ({ ...batch, samples: parts.flatMap((part) => part[i].samples) }))
  t.same(texts(joined), texts(batches), 'two processes')
  using cache = new RecordCache(options.cacheFolder)
  cache.add(drawn.map(({ key }) => [key!, Buffer.from('tokens')]))
  const again = (await take(options, 12, 4)).flatMap(({ samples }) => samples)
  t.ok(again.every(({ pixels }) => pixels === null))
  t.same(
    again.map(({ captions }) => captions),
    drawn.map(({ captions }) => captions),
  )
})

t.test('cached versions come without pixels and with the same captions', async (t) => {
  const folder = t.testdir()
  const packs = [await boxes(join(folder, 'a'))]
  const cacheFolder = join(folder, 'cache')
  const options = { packs, resolution: side, seed: 3, augment, cacheFolder }
  const fresh = (await take(options, 12, 6)).flatMap(({ samples }) => samples)
  t.ok(fresh.every(({ pixels }) => pixels))
  using cache = new RecordCache(cacheFolder)
  cache.add(fresh.map(({ key }) => [key!, Buffer.from('tokens')]))
  t.equal(cache.count, new Set(fresh.map(({ key }) => key!.toString('hex'))).size)
  t.ok(cache.count <= 12 * augment.variants, 'the cache holds so many versions at most')
  const again = (await take(options, 12, 6)).flatMap(({ samples }) => samples)
  t.ok(again.every(({ pixels, cached }) => pixels === null && cached !== null))
  const told = (samples: typeof fresh) => samples.map(({ id, key, captions }) => ({ id, key, captions }))
  t.same(told(again), told(fresh))
  // Batches that are known whole and in part, as after a kill: of the latter all pixels are needed.
  const part = join(folder, 'part')
  using half = new RecordCache(part)
  half.add(fresh.filter((_, i) => i < 36 || i % 3 === 0).map(({ key }) => [key!, Buffer.from('tokens')]))
  const mixed = (await take({ ...options, cacheFolder: part }, 12, 6)).flatMap(({ samples }) => samples)
  t.same(told(mixed), told(fresh))
  const pixelsOf = (samples: typeof fresh) =>
    samples.map(({ pixels }) => pixels && Buffer.from(pixels).toString('base64'))
  const first = pixelsOf(fresh)
  t.same(
    pixelsOf(mixed),
    first.map((pixels, i) => (mixed[i].pixels ? pixels : null)),
  )
  t.ok(mixed.some(({ pixels }) => pixels) && mixed.some(({ pixels }) => !pixels))
})
