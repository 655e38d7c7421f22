import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Loader, type LoaderOptions } from '../../../lib/data/index.js'
import type { LoadedBatch } from '../../../lib/data/pipeline.js'
import { splitName, tarSamples } from '../../../lib/data/tar.js'
import { numberedPng, numberedTar, writeTar } from '../../support/tiny-images.js'

const ids = ({ samples }: LoadedBatch): string[] => samples.map(({ id }) => id)
const numbersOf = (batches: LoadedBatch[]): number[] => batches.flatMap(ids).map(Number)
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const sorted = (numbers: number[]): number[] => [...numbers].sort((a, b) => a - b)

async function take(options: LoaderOptions, batches: number, size: number, state?: unknown): Promise<LoadedBatch[]> {
  using loader = await Loader.open(options)
  if (state !== undefined) loader.restore(state)
  const taken: LoadedBatch[] = []
  for (let i = 0; i < batches; i++) taken.push(await loader.next(size))
  return taken
}

async function threeTars(folder: string): Promise<string> {
  await numberedTar(join(folder, 'a.tar'), 10)
  await numberedTar(join(folder, 'b.tar'), 7, 10)
  await numberedTar(join(folder, 'c.tar'), 13, 17)
  return folder
}

t.test('names are split as WebDataset splits them', async (t) => {
  t.same(splitName('000.png'), { key: '000', extension: 'png' })
  t.same(splitName('./a/b.c/000.seg.PNG'), { key: './a/b.c/000', extension: 'seg.png' })
  t.same(splitName('.hidden'), { key: '.hidden', extension: '' })
  t.same(splitName('a/none'), { key: 'a/none', extension: '' })
})

t.test('samples are read from any of their beginnings', async (t) => {
  const long = `${'long/'.repeat(40)}name`
  const path = await writeTar(join(t.testdir(), 'a.tar'), [
    ['0.txt', 'zero'],
    ['0.bin', Buffer.alloc(1500, 7)],
    [`${long}.txt`, 'one'],
    [`${long}.json`, '{}'],
    ['2.png', Buffer.alloc(512)],
    ['3.txt', ''],
  ])
  const all = []
  for await (const sample of tarSamples(path)) all.push(sample)
  t.same(
    all.map(({ key, files }) => [key, ...files.keys()]),
    [
      ['0', 'txt', 'bin'],
      [long, 'txt', 'json'],
      ['2', 'png'],
      ['3', 'txt'],
    ],
  )
  t.ok(all[0].files.get('bin')!.equals(Buffer.alloc(1500, 7)))
  for (const [i, { end }] of all.entries()) {
    const rest = []
    for await (const sample of tarSamples(path, end)) rest.push(sample)
    t.same(rest, all.slice(i + 1))
  }
})

t.test('an epoch holds every sample once, in another order each time', async (t) => {
  const options = { tars: [await threeTars(t.testdir())], resolution: 8 }
  const batches = await take(options, 6, 10)
  t.same(
    batches.map(({ epoch }) => epoch),
    [0, 0, 0, 1, 1, 1],
  )
  const [first, second] = [numbersOf(batches.slice(0, 3)), numbersOf(batches.slice(3))]
  t.same(sorted(first), upTo(30))
  t.same(sorted(second), upTo(30))
  t.notSame(first, second)
  t.notSame(first, upTo(30))
  const { samples } = batches[0]
  t.same(samples[0].captions, [`picture ${Number(samples[0].id)}`])
  t.same([...samples[0].pixels!.subarray(0, 3)], [Number(samples[0].id), 0, 77])
})

t.test('a stream resumes exactly from any position', async (t) => {
  const options = { tars: [await threeTars(t.testdir())], resolution: 8, flip: 0.5, tarSamples: 30 }
  using loader = await Loader.open(options)
  t.equal(loader.length, 30)
  const states = [loader.state()]
  const batches: LoadedBatch[] = []
  for (let i = 0; i < 15; i++) {
    batches.push(await loader.next(4))
    states.push(loader.state())
  }
  for (const from of [0, 3, 7, 8, 14]) t.same(await take(options, 15 - from, 4, states[from]), batches.slice(from))
  loader.restore({ epoch: 0, tar: 9 })
  await t.rejects(loader.next(4), { code: 'ERR_ARGUMENT', message: /no place in 3 tars/ })
})

t.test('processes share the tars, or the samples of few tars', async (t) => {
  const tars = [await threeTars(t.testdir())]
  for (const ranks of [3, 4]) {
    const parts: number[] = []
    for (const rank of upTo(ranks)) {
      using loader = await Loader.open({ tars, resolution: 8, rank, ranks, once: true })
      for await (const batch of loader.pass(8 * ranks)) parts.push(...ids(batch).map(Number))
    }
    t.same(sorted(parts), upTo(30), `${ranks} processes`)
  }
})

t.test('captions and filters of a tar', async (t) => {
  const json = (value: object): string => JSON.stringify(value)
  const path = await writeTar(join(t.testdir(), 'a.tar'), [
    ['0.png', numberedPng(0)],
    ['0.json', json({ caption: 'from the json', other: 'another key', punsafe: 0.4 })],
    ['0.txt', 'from the text'],
    ['1.png', numberedPng(1)],
    ['1.txt', 'marked'],
    ['1.json', json({ pwatermark: 0.7 })],
    ['2.png', numberedPng(2)],
    ['2.txt', 'unsafe'],
    ['2.json', json({ punsafe: 0.6 })],
    ['3.png', numberedPng(3)],
    ['3.txt', 'en français'],
    ['3.json', json({ LANGUAGE: 'fr' })],
    ['4.png', numberedPng(4, 40, 8)],
    ['4.txt', 'much too wide'],
    ['4.json', json({ width: 8, height: 8 })],
    ['5.png', numberedPng(5, 4)],
    ['5.txt', 'too small'],
    ['6.png', numberedPng(6)],
    ['7.jpg', await (await import('sharp')).default(numberedPng(7)).jpeg().toBuffer()],
    ['7.txt', 'a jpeg'],
  ])
  const pass = async (options: Partial<LoaderOptions>) => {
    using loader = await Loader.open({ tars: [path], resolution: 8, once: true, shuffle: false, ...options })
    const captions: Record<string, readonly string[]> = {}
    for await (const { samples } of loader.pass(3)) for (const sample of samples) captions[sample.id] = sample.captions
    return { captions, leftOut: loader.leftOut }
  }
  t.same(await pass({ filters: { languages: ['en'] } }), {
    captions: { 0: ['from the text', 'from the json'], 7: ['a jpeg'] },
    leftOut: { watermark: 1, unsafe: 1, languages: 1, aspectRatio: 1, minSide: 1, captionLength: 1 },
  })
  const off = { watermark: false, unsafe: false, aspectRatio: false, minSide: false } as const
  const { captions } = await pass({ filters: off, captionKeys: ['other'] })
  t.same(Object.keys(captions), ['0', '1', '2', '3', '4', '5', '7'])
  t.same(captions[0], ['another key'])
  await t.rejects(Loader.open({ tars: [path], resolution: 64 }), {
    code: 'ERR_CONFIG',
    message: /no image of .*a.tar is left for training at 64 pixels .*minSide/,
  })
})

t.test('damaged samples and tars are told and passed over', async (t) => {
  const folder = t.testdir()
  await threeTars(folder)
  const b = readFileSync(join(folder, 'b.tar'))
  b[b.indexOf(numberedPng(12)) + 60] ^= 1
  writeFileSync(join(folder, 'b.tar'), b)
  const c = readFileSync(join(folder, 'c.tar'))
  writeFileSync(join(folder, 'c.tar'), c.subarray(0, c.indexOf(numberedPng(22)) + 10))
  writeFileSync(join(folder, 'd.tar'), 'this is no tar at all, but a text\n'.repeat(100))
  const told: string[] = []
  const options = {
    tars: [folder],
    resolution: 8,
    shuffle: false,
    once: true,
    onBad: (line: string) => told.push(line),
  }
  using loader = await Loader.open(options)
  const batches: LoadedBatch[] = []
  for await (const batch of loader.pass(4)) batches.push(batch)
  t.same(
    numbersOf(batches),
    upTo(22).filter((n) => n !== 12),
  )
  t.equal(told.length, 3)
  t.match(told.sort(), [
    /c.tar is damaged/,
    /d.tar is damaged or no tar/,
    /^sample "00012" of .*b.tar cannot be decoded/,
  ])
  await t.rejects(take({ ...options, badShare: 0 }, 8, 4), { code: 'ERR_FILE', message: /data.badShare/ })
})

t.test('what is told of a sample does nothing to a terminal, whatever its data and its name hold', async (t) => {
  const tar = await writeTar(join(t.testdir(), 'a.tar'), [
    ['0.png', numberedPng(0)],
    ['0.txt', 'picture 0'],
    ['1.png', numberedPng(1)],
    ['1.json', '\x1b[2J\n\0'],
    ['2\x9b2J\u202e.png', 'no picture'],
  ])
  const told: string[] = []
  const options = { tars: [tar], resolution: 8, shuffle: false, once: true, badShare: 1 }
  using loader = await Loader.open({ ...options, onBad: (line) => told.push(line) })
  for await (const { samples } of loader.pass(4))
    t.same(
      samples.map(({ id }) => id),
      ['0'],
    )
  t.match(told, [/^sample "1" of .* cannot be used: .*\\u001b/, /^sample "2\\u009b2J\\u202e" of .* cannot be used/])
  for (const line of told) t.notMatch(line, /[\p{Cc}\u202e]/u)
})
