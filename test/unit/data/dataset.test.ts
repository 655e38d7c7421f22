import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { captionsOf } from '../../../lib/data/captions.js'
import { findPacks, ImageCaptionDataset } from '../../../lib/data/dataset.js'
import { openPack, type PackEntry, writePack } from '../../../lib/data/pack.js'
import { Random } from '../../../lib/tensor/index.js'

async function entry(i: number, more: Record<string, unknown> = {}): Promise<PackEntry> {
  const width = (more.width as number) ?? 20
  const height = (more.height as number) ?? 16
  const background = { r: i, g: 100, b: 255 - i }
  const image = await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer()
  const info = { id: String(i), basename: `${i}.png`, prompt: `picture ${i}`, width, height, ...more }
  return { key: `demo-${i}`, info, image }
}

async function packOf(folder: string, name: string, infos: Record<string, unknown>[]): Promise<string> {
  const path = join(folder, name)
  await writePack(path, await Promise.all(infos.map((more, i) => entry(i, more))))
  return path
}

t.test('packs of a folder become one data set of pixels and captions', async (t) => {
  const folder = t.testdir()
  await packOf(folder, 'a-000000', [{}, { caption_long: 'a long caption' }])
  await packOf(folder, 'a-000001', [{ width: 70, height: 20 }, {}])
  using data = await ImageCaptionDataset.open(folder, { resolution: 8 })
  t.equal(data.length, 3)
  t.same(data.leftOut, { aspectRatio: 1 })
  t.equal(data.resolution, 8)
  t.equal(data.id(1), 'demo-1')
  t.equal(data.describe(2), `image "demo-1" of ${join(folder, 'a-000001')}`, 'the wide one of this pack is left out')
  t.same(data.captions(1), ['picture 1', 'a long caption'])
  t.same([...(await data.load(1)).subarray(0, 3)], [1, 100, 254])
  t.equal((await data.load(2)).length, 8 * 8 * 3)
  t.ok(Buffer.from(openPack(join(folder, 'a-000000')).image('demo-1')).equals(await data.read(1)))
  const random = new Random(1)
  const drawn = new Set(Array.from({ length: 50 }, () => data.caption(1, random)))
  t.same([...drawn].sort(), ['a long caption', 'picture 1'])
  t.throws(() => data.id(3), { code: 'ERR_ARGUMENT', message: /sample 3 .* 0 to 2/ })
})

t.test('splits are kept apart', async (t) => {
  const path = await packOf(t.testdir(), 'a', [{ split: 'held-out' }, { split: 'train' }, {}])
  const ids = async (split?: 'train' | 'held-out') => {
    using data = await ImageCaptionDataset.open(path, { resolution: 8, split })
    return Array.from({ length: data.length }, (_, i) => data.id(i).slice(5))
  }
  t.same(await ids('train'), ['1', '2'])
  t.same(await ids('held-out'), ['0'])
  t.same(await ids(), ['0', '1', '2'])
})

t.test('captions come from the keys asked for first', async (t) => {
  const info = { prompt: 'p', caption_a: 'a', captions: ['b', 'c', 3], other: 'o', width: 3 }
  t.same(captionsOf(info), ['p', 'a', 'b', 'c'])
  t.same(captionsOf(info, ['other', 'caption_a']), ['o', 'a'])
  t.same(captionsOf(info, ['missing', 'toString']), ['p', 'a', 'b', 'c'])
})

t.test('a prompt file beside the pack replaces captions', async (t) => {
  const path = await packOf(t.testdir(), 'a', [{}, {}, {}])
  writeFileSync(
    `${path}-prompt.json`,
    JSON.stringify({ 'demo-0': 'a new prompt', 'demo-2': { prompt: 'one', caption_b: 'another' } }),
  )
  {
    using data = await ImageCaptionDataset.open(path, { resolution: 8, filters: { captionLength: false } })
    t.same(
      [0, 1, 2].map((i) => data.captions(i)),
      [['a new prompt'], ['picture 1'], ['one', 'another']],
    )
  }
  writeFileSync(`${path}-prompt.json`, '[]')
  await t.rejects(ImageCaptionDataset.open(path, { resolution: 8 }), {
    code: 'ERR_FILE',
    message: /-prompt.json is not/,
  })
})

t.test('what cannot be opened says why', async (t) => {
  const folder = t.testdir({ empty: {} })
  const path = await packOf(folder, 'a', [{}, {}])
  await t.rejects(ImageCaptionDataset.open(join(folder, 'x'), { resolution: 8 }), {
    code: 'ERR_FILE',
    message: /does not exist/,
  })
  t.throws(() => findPacks([join(folder, 'empty')]), { code: 'ERR_FILE', message: /holds no pack/ })
  await t.rejects(ImageCaptionDataset.open(path, { resolution: 64 }), {
    code: 'ERR_CONFIG',
    message: /no image of .* is left for training at 64 pixels \(left out by filter: minSide 2\)/,
  })
  await t.rejects(ImageCaptionDataset.open(path, { resolution: 0 }), { code: 'ERR_ARGUMENT' })
  await t.rejects(ImageCaptionDataset.open(path, { resolution: 8, signal: AbortSignal.abort() }), {
    code: 'ERR_ABORTED',
  })
  const info = JSON.parse(readFileSync(`${path}-info.json`, 'utf8'))
  await writePack(path, [
    { key: 'demo-0', info: info['demo-0'], image: Buffer.from('no picture') },
    { key: 'demo-1', info: info['demo-1'], image: Buffer.from('none either') },
  ])
  delete info['demo-1']
  writeFileSync(`${path}-info.json`, JSON.stringify(info))
  using data = await ImageCaptionDataset.open(path, { resolution: 8 })
  await t.rejects(data.load(0), { code: 'ERR_FILE', message: /^image "demo-0" of .* cannot be decoded/ })
  t.equal(data.length, 1)
  t.same(data.unknown, [`image "demo-1" of ${path} has no entry in its info file`])
})
