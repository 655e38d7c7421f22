import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ImageCaptionDataset } from '../../../lib/data/dataset.js'
import { Loader, type LoaderOptions } from '../../../lib/data/index.js'
import { writePack } from '../../../lib/data/pack.js'
import type { LoadedBatch } from '../../../lib/data/pipeline.js'
import { RecordCache } from '../../../lib/data/record-cache.js'
import { EpochSampler } from '../../../lib/data/sampler.js'
import { numberedEntry, numberedPack } from '../../support/tiny-images.js'

const ids = ({ samples }: LoadedBatch): string[] => samples.map(({ id }) => id)

async function take(options: LoaderOptions, batches: number, size: number, state?: unknown): Promise<LoadedBatch[]> {
  using loader = await Loader.open(options)
  if (state !== undefined) loader.restore(state)
  const taken: LoadedBatch[] = []
  for (let i = 0; i < batches; i++) taken.push(await loader.next(size))
  return taken
}

/** Breaks the pixels of records in a pack. */
function damage(path: string, numbers: readonly number[]): void {
  const bytes = readFileSync(path)
  for (const number of numbers) {
    // The picture's own bytes begin behind its header, which names the key nowhere: find it by its first pixel's row.
    const { image } = numberedEntry(number)
    const at = bytes.indexOf(image)
    bytes[at + image.length - 20] ^= 8
  }
  writeFileSync(path, bytes)
}

t.test('samples come in the order of the sampler, with pixels and captions', async (t) => {
  const folder = t.testdir()
  await numberedPack(join(folder, 'a-000000'), 7)
  await numberedPack(join(folder, 'a-000001'), 6, 7)
  const sampler = new EpochSampler({ length: 13, seed: 5 })
  using loader = await Loader.open({ packs: [folder], resolution: 8, seed: 5 })
  using data = await ImageCaptionDataset.open(folder, { resolution: 8 })
  t.equal(loader.length, 13)
  for (let i = 0; i < 8; i++) {
    const batch = await loader.next(4)
    const expected = sampler.next(4)
    t.same(
      ids(batch),
      expected.map((n) => `n-${n}`),
    )
    t.equal(batch.epoch, sampler.epoch)
    t.same(loader.state(), sampler.state())
    for (const [b, n] of expected.entries()) {
      t.ok(Buffer.from(batch.samples[b].pixels!).equals(await data.load(n)))
      t.same(batch.samples[b].captions, [`picture ${n}`])
    }
  }
})

t.test('a loader resumes exactly from any position, in batches of any size', async (t) => {
  const folder = t.testdir()
  const packs = [await numberedPack(join(folder, 'a'), 11)]
  const options = { packs, resolution: 8, flip: 0.5 }
  using loader = await Loader.open(options)
  const states = [loader.state()]
  const batches: LoadedBatch[] = []
  for (let i = 0; i < 7; i++) {
    batches.push(await loader.next(5))
    states.push(loader.state())
  }
  t.same(await take(options, 7, 5), batches, 'another loader gives the same')
  for (const from of [1, 4, 6]) t.same(await take(options, 7 - from, 5, states[from]), batches.slice(from))
  loader.restore(states[2])
  const single: string[] = []
  for (let i = 0; i < 5; i++) single.push(...ids(await loader.next(1)))
  t.same(single, ids(batches[2]), 'in batches of another size')
  loader.restore({ epoch: 0, position: 99 })
  await t.rejects(loader.next(5), { code: 'ERR_ARGUMENT', message: /no place in epochs of 11 samples/ })
})

t.test('any number of processes takes the batches of one, each its part', async (t) => {
  const packs = [await numberedPack(join(t.testdir(), 'a'), 10)]
  // A damaged image is stood in for wherever it lies.
  damage(packs[0], [3])
  const options = { packs, resolution: 8, flip: 0.5, badShare: 0.2 }
  const whole = await take(options, 9, 8)
  const placed = await Loader.open(options)
  for (let i = 0; i < 4; i++) await placed.next(8)
  const state = placed.state()
  placed.close()
  for (const ranks of [2, 4, 8]) {
    for (const [begin, from] of [
      [0, undefined],
      [4, state],
    ] as [number, unknown][]) {
      const parts = await Promise.all(
        Array.from({ length: ranks }, (_, rank) => take({ ...options, rank, ranks }, 9 - begin, 8, from)),
      )
      const joined = whole.slice(begin).map((_, i) => ({
        samples: parts.flatMap((part) => part[i].samples),
        epoch: parts[0][i].epoch,
        size: parts[0][i].size,
      }))
      t.same(joined, whole.slice(begin), `${ranks} processes from batch ${begin}: pictures, captions, mirroring`)
      t.ok(parts.every((part) => part.every(({ epoch }, i) => epoch === whole[begin + i].epoch)))
    }
  }
  using two = await Loader.open({ ...options, rank: 1, ranks: 2 })
  t.equal(two.length, 10, 'an epoch is that of all processes')
  t.same(ids(await two.next(8)), ids(whole[0]).slice(4))
  t.same(ids(await two.peek(8)), ids(whole[1]), 'all of the next batch')
  t.same(ids(await two.next(8)), ids(whole[1]).slice(4), 'which is not taken by that')
  using four = await Loader.open({ ...options, rank: 3, ranks: 4 })
  four.restore(JSON.parse(JSON.stringify(two.state())))
  t.same(ids(await four.next(8)), ids(whole[2]).slice(6), 'two processes resume as four')
  await t.rejects(two.next(7), { code: 'ERR_CONFIG', message: /2 processes cannot share 7 samples evenly/ })
})

t.test('processes take one epoch to its end', async (t) => {
  const packs = [await numberedPack(join(t.testdir(), 'a'), 10)]
  const seen: string[][] = []
  for (const rank of [0, 1]) {
    using loader = await Loader.open({ packs, resolution: 8, shuffle: false, once: true, rank, ranks: 2 })
    const own: string[] = []
    for await (const batch of loader.pass(4)) own.push(...ids(batch))
    seen.push(own)
  }
  t.same(seen, [[0, 1, 4, 5, 8, 9].map((n) => `n-${n}`), [2, 3, 6, 7].map((n) => `n-${n}`)])
})

t.test('mirroring is drawn for each place in the order', async (t) => {
  const packs = [await numberedPack(join(t.testdir(), 'a'), 16)]
  const plain = (await take({ packs, resolution: 8 }, 2, 16)).flatMap(({ samples }) => samples)
  const half = (await take({ packs, resolution: 8, flip: 0.5 }, 2, 16)).flatMap(({ samples }) => samples)
  const mirrored = (pixels: Uint8Array): Buffer => {
    const out = Buffer.alloc(pixels.length)
    for (let y = 0; y < 8; y++)
      for (let x = 0; x < 8; x++) out.set(pixels.subarray(3 * (8 * y + x), 3 * (8 * y + x) + 3), 3 * (8 * y + 7 - x))
    return out
  }
  const kinds = half.map(({ pixels }, i) => {
    if (Buffer.from(pixels!).equals(plain[i].pixels!)) return 'plain'
    return mirrored(plain[i].pixels!).equals(pixels!) ? 'mirrored' : 'neither'
  })
  t.notOk(kinds.includes('neither'))
  const count = kinds.filter((kind) => kind === 'mirrored').length
  t.ok(count > 6 && count < 26, `${count} of 32`)
  t.notSame(kinds.slice(0, 16), kinds.slice(16), 'another draw in the next epoch')
})

t.test('one epoch in order, again and again', async (t) => {
  const packs = [await numberedPack(join(t.testdir(), 'a'), 10)]
  using loader = await Loader.open({ packs, resolution: 8, shuffle: false, once: true })
  for (let round = 0; round < 3; round++) {
    const seen: string[] = []
    const sizes: number[] = []
    for await (const batch of loader.pass(4)) {
      seen.push(...ids(batch))
      sizes.push(batch.samples.length)
    }
    t.same(
      seen,
      Array.from({ length: 10 }, (_, n) => `n-${n}`),
    )
    t.same(sizes, [4, 4, 2])
  }
})

t.test('a damaged image is told once, and the next of the data set stands in for it', async (t) => {
  const packs = [await numberedPack(join(t.testdir(), 'a'), 12)]
  const whole = (await take({ packs, resolution: 8 }, 6, 4)).flatMap(ids)
  damage(packs[0], [3, 4])
  const told: string[] = []
  const options = { packs, resolution: 8, badShare: 0.2, onBad: (message: string) => told.push(message) }
  const given = (await take(options, 6, 4)).flatMap(ids)
  t.same(
    given,
    whole.map((id) => (id === 'n-3' || id === 'n-4' ? 'n-5' : id)),
  )
  t.same(told.length, 2)
  t.match(told.sort()[0], /^image "n-3" of .*a cannot be decoded/)
  await t.rejects(take({ ...options, badShare: 0.1 }, 6, 4), {
    code: 'ERR_FILE',
    message:
      /^2 of 12 images are damaged, more than the share of 0.1 that "data.badShare" allows; the first: image "n-/,
  })
  damage(packs[0], [0, 1, 2, 5, 6, 7, 8, 9, 10, 11])
  await t.rejects(take({ ...options, badShare: 1 }, 1, 4), { code: 'ERR_FILE', message: /in a row are damaged/ })
})

t.test('an image that the info file does not know counts as damaged', async (t) => {
  const [pack] = [await numberedPack(join(t.testdir(), 'a'), 4)]
  const info = JSON.parse(readFileSync(`${pack}-info.json`, 'utf8'))
  delete info['n-2']
  writeFileSync(`${pack}-info.json`, JSON.stringify(info))
  const told: string[] = []
  const options = { packs: [pack], resolution: 8, badShare: 0.3, onBad: (message: string) => told.push(message) }
  using loader = await Loader.open(options)
  t.equal(loader.length, 3)
  t.match(told, [/"n-2" of .* has no entry in its info file/])
  await t.rejects(Loader.open({ ...options, badShare: 0.1 }), { code: 'ERR_FILE', message: /1 of 4 images/ })
  info['n-9'] = info['n-1']
  writeFileSync(`${pack}-info.json`, JSON.stringify(info))
  await t.rejects(Loader.open(options), {
    code: 'ERR_FILE',
    message: /2 of 5 images .*; the first: image "n-2"/,
  })
})

t.test('a batch whose pictures are all in the cache comes without pixels', async (t) => {
  const folder = t.testdir()
  const packs = [await numberedPack(join(folder, 'a'), 8)]
  const cacheFolder = join(folder, 'cache')
  const options = { packs, resolution: 8, cacheFolder, shuffle: false }
  const batches = await take(options, 2, 4)
  t.ok(batches.every(({ samples }) => samples.every(({ pixels, key }) => pixels && key)))
  using cache = new RecordCache(cacheFolder)
  cache.add([...batches[0].samples, batches[1].samples[1]].map(({ key }) => [key!, key!.subarray(2)]))
  const again = await take(options, 2, 4)
  t.same(
    again.map(({ samples }) => samples.map(({ pixels }) => pixels !== null)),
    [Array(4).fill(false), Array(4).fill(true)],
  )
  t.same(
    again.map(({ samples }) =>
      samples.map(({ key, cached }) => cached && Buffer.from(cached).equals(key!.subarray(2))),
    ),
    [Array(4).fill(true), [null, true, null, null]],
    'what the cache holds comes along, as it may be dropped from there',
  )
  const keys = (batches: LoadedBatch[]) =>
    batches.flatMap(({ samples }) => samples.map(({ key }) => key!.toString('hex')))
  t.same(keys(again), keys(batches))
  const flipped = await take({ ...options, flip: 1 }, 2, 4)
  t.ok(
    keys(flipped).every((key, i) => key !== keys(batches)[i]),
    'mirrored pictures have keys of their own',
  )
})

t.test('what is made of an epoch is known in the next but one', async (t) => {
  const folder = t.testdir()
  const cacheFolder = join(folder, 'cache')
  using loader = await Loader.open({ packs: [await numberedPack(join(folder, 'a'), 16)], resolution: 8, cacheFolder })
  using cache = new RecordCache(cacheFolder)
  for (let i = 0; i < 12; i++) {
    const { samples } = await loader.next(4)
    if (i >= 8) t.ok(samples.every(({ pixels }) => pixels === null))
    cache.add(samples.map(({ key }) => [key!, Buffer.from('x')]))
  }
})

t.test('what cannot be loaded says why before the first sample', async (t) => {
  const folder = t.testdir({ empty: {} })
  const pack = await numberedPack(join(folder, 'a'), 3)
  const cases: [LoaderOptions, object][] = [
    [
      { packs: [join(folder, 'empty')], resolution: 8 },
      { code: 'ERR_FILE', message: /holds no pack/ },
    ],
    [
      { packs: [join(folder, 'x')], resolution: 8 },
      { code: 'ERR_FILE', message: /does not exist/ },
    ],
    [
      { packs: [pack], resolution: 256 },
      {
        code: 'ERR_CONFIG',
        message: /no image of .*a is left for training at 256 pixels \(left out by filter: minSide 3\)/,
      },
    ],
    [
      { packs: [pack], tars: [pack], resolution: 8 },
      { code: 'ERR_ARGUMENT', message: /either packs or tars/ },
    ],
    [
      { tars: [join(folder, 'empty')], resolution: 8 },
      { code: 'ERR_FILE', message: /holds no .tar file/ },
    ],
  ]
  for (const [options, error] of cases) await t.rejects(Loader.open(options), { name: 'StarError', ...error })
  const abort = new AbortController()
  const opening = Loader.open({ packs: [pack], resolution: 8, signal: abort.signal })
  abort.abort()
  await t.rejects(opening, { code: 'ERR_ABORTED' })
  await t.rejects(Loader.open({ packs: [pack], resolution: 8, signal: abort.signal }), { code: 'ERR_ABORTED' })
})

t.test('filters are switched off and counted', async (t) => {
  const folder = t.testdir()
  const more = [{}, { pwatermark: 0.9 }, { punsafe: 0.7 }, { language: 'fr' }, { prompt: 'aaaaaa' }, { prompt: 'ab' }]
  await writePack(
    join(folder, 'a'),
    more.map((info, i) => numberedEntry(i, info)),
  )
  const open = async (filters: LoaderOptions['filters']) => {
    using loader = await Loader.open({ packs: [folder], resolution: 8, filters })
    return { kept: loader.length, ...loader.leftOut }
  }
  t.same(await open({}), { kept: 2, watermark: 1, unsafe: 1, repeatedCharacter: 1, captionLength: 1 })
  t.same(await open({ languages: ['en'], watermark: false, unsafe: 0.8, captionLength: false, repeatedCharacter: 7 }), {
    kept: 5,
    languages: 1,
  })
})
