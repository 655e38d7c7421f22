import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { openPack } from '../../../lib/data/pack.js'
import { verifyPacks } from '../../../lib/data/pack-verify.js'
import { type PackReport, packImages, readPackReport } from '../../../lib/data/packer.js'
import { numberedPng, numberedTar, writeTar, writeText } from '../../support/tiny-images.js'

const infosOf = (folder: string, report: PackReport): Record<string, Record<string, unknown>> =>
  Object.assign(
    {},
    ...report.packs.map(({ name }) => JSON.parse(readFileSync(join(folder, `${name}-info.json`), 'utf8'))),
  )

const problemsOf = async (path: string): Promise<string[]> => {
  const problems: string[] = []
  for await (const found of verifyPacks([path])) problems.push(...found.problems)
  return problems
}

function folderOfImages(folder: string, count: number): string {
  for (let n = 0; n < count; n++) {
    writeText(folder, `${String(n).padStart(4, '0')}.txt`, `picture ${n}`)
    writeFileSync(join(folder, `${String(n).padStart(4, '0')}.png`), numberedPng(n))
  }
  return folder
}

t.test('images/ and jsons/ of the authors', async (t) => {
  const folder = t.testdir({ images: {}, jsons: {} })
  for (const n of [0, 1, 2]) {
    writeFileSync(join(folder, 'images', `${n}.png`), numberedPng(n, 8, 9))
    const info = {
      id: String(n),
      basename: `${n}.png`,
      prompt: `picture ${n}`,
      height: 1,
      width: 1,
      caption_long: 'long',
    }
    writeText(folder, `jsons/${n}.json`, JSON.stringify(info))
  }
  writeText(folder, 'jsons/3.json', JSON.stringify({ id: '3', basename: '3.png', prompt: 'no picture' }))
  writeText(folder, 'jsons/4.json', '{"id": ')
  writeText(folder, 'jsons/5.json', JSON.stringify({ id: '5', basename: '0.png' }))
  const out = join(folder, 'out')
  const report = await packImages([folder], { dataset: 'demo', out })
  t.match(report, { complete: true, images: 3, inputs: 6, leftOut: { noImage: 1, badInfo: 1, noCaption: 1 } })
  t.same(
    report.leftOutInputs.map(({ name, reason }) => [name, reason]),
    [
      ['jsons/3.json', 'noImage'],
      ['jsons/4.json', 'badInfo'],
      ['jsons/5.json', 'noCaption'],
    ],
  )
  t.same(readdirSync(out).sort(), ['demo-000000', 'demo-000000-info.json', 'demo-000000-lock', 'pack-report.json'])
  using pack = openPack(join(out, 'demo-000000'))
  t.same(pack.keys, ['demo-0', 'demo-1', 'demo-2'])
  t.ok(Buffer.from(pack.image('demo-1')).equals(numberedPng(1, 8, 9)), 'a PNG is stored as it is')
  t.strictSame(pack.info('demo-1'), {
    id: '1',
    basename: '1.png',
    prompt: 'picture 1',
    width: 8,
    height: 9,
    caption_long: 'long',
  })
})

t.test('a folder of images of several formats, with captions beside them', async (t) => {
  const folder = t.testdir({ in: { deep: {} } })
  const input = join(folder, 'in')
  writeFileSync(join(input, 'a.jpg'), await sharp(numberedPng(3, 16)).jpeg({ quality: 100 }).toBuffer())
  writeText(input, 'a.txt', '  a jpeg\n')
  writeFileSync(join(input, 'deep/b.webp'), await sharp(numberedPng(4)).webp({ lossless: true }).toBuffer())
  writeText(input, 'deep/b.json', JSON.stringify({ prompt: 'a webp', caption_b: 'another' }))
  writeText(input, 'c.png', 'this is no image')
  writeText(input, 'c.txt', 'broken')
  writeFileSync(join(input, 'd.png'), numberedPng(5))
  const out = join(folder, 'out')
  const report = await packImages([input], { dataset: 'mixed', out })
  t.match(report, { images: 2, leftOut: { badImage: 1, noCaption: 1 } })
  using pack = openPack(join(out, 'mixed-000000'))
  t.same(pack.keys, ['mixed-a', 'mixed-deep/b'])
  t.match(pack.info('mixed-a'), { prompt: 'a jpeg', basename: 'a.jpg', width: 16 })
  t.match(pack.info('mixed-deep/b'), { prompt: 'a webp', caption_b: 'another' })
  const { format } = await sharp(pack.image('mixed-a')).metadata()
  t.equal(format, 'png')
  t.ok((await sharp(pack.image('mixed-deep/b')).raw().toBuffer()).equals(await sharp(numberedPng(4)).raw().toBuffer()))
})

t.test('pictures are packed upright, whatever reads them later', async (t) => {
  const folder = t.testdir({ in: {} })
  const input = join(folder, 'in')
  const turned = (format: 'png' | 'webp') =>
    sharp(numberedPng(3, 6, 4))
      .withMetadata({ orientation: 6 })
      .toFormat(format, { lossless: true })
      .toBuffer()
  for (const format of ['png', 'webp'] as const) {
    writeFileSync(join(input, `${format}.${format}`), await turned(format))
    writeText(input, `${format}.txt`, 'a picture')
  }
  const out = join(folder, 'out')
  await packImages([input], { dataset: 'turned', out })
  t.same(await problemsOf(out), [])
  using pack = openPack(join(out, 'turned-000000'))
  // A quarter to the right: the lower left corner comes to the upper left.
  const upright = await sharp(numberedPng(3, 6, 4))
    .rotate(90)
    .raw()
    .toBuffer()
  for (const key of ['turned-png', 'turned-webp']) {
    t.match(pack.info(key), { width: 4, height: 6 })
    t.notOk((await sharp(pack.image(key)).metadata()).orientation, key)
    t.ok((await sharp(pack.image(key)).raw().toBuffer()).equals(upright), key)
  }
})

t.test('a fraction is held out, by names', async (t) => {
  const folder = t.testdir({ in: {} })
  const input = folderOfImages(join(folder, 'in'), 40)
  const heldOutOf = async (heldOut: number, out: string): Promise<string[]> => {
    const report = await packImages([input], { dataset: 'demo', out: join(folder, out), heldOut })
    const infos = Object.entries(infosOf(join(folder, out), report))
    const names = infos.filter(([, { split }]) => split === 'held-out').map(([key]) => key)
    t.equal(report.heldOut, names.length)
    t.equal(infos.filter(([, { split }]) => split === 'train').length, 40 - names.length)
    return names
  }
  const some = await heldOutOf(0.1, 'tenth')
  t.equal(some.length, 4)
  t.notSame(some, ['demo-0000', 'demo-0001', 'demo-0002', 'demo-0003'])
  t.same(
    (await heldOutOf(0.25, 'quarter')).filter((name) => some.includes(name)),
    some,
    'more holds out these too',
  )
  t.equal((await heldOutOf(0.001, 'one')).length, 1)
  await t.rejects(heldOutOf(0.2, 'tenth'), { code: 'ERR_FILE', message: /of which 0.1 is held out, not 0.2/ })
  await t.rejects(heldOutOf(1, 'all'), { code: 'ERR_ARGUMENT', message: /heldOut is 1, expected a fraction/ })

  writeText(
    folder,
    'list.jsonl',
    '{"path":"in/0000.png","prompt":"zero","split":"held-out"}\n{"path":"in/0001.png","prompt":"one"}\n',
  )
  const own = await packImages([join(folder, 'list.jsonl')], { dataset: 'own', out: join(folder, 'own') })
  t.match([own.heldOut, infosOf(join(folder, 'own'), own)], [1, { 'own-in/0000': { split: 'held-out' } }])
  t.notOk('split' in infosOf(join(folder, 'own'), own)['own-in/0001'], 'nothing is said where nothing is asked for')

  await numberedTar(join(folder, 'many.tar'), 200)
  const tars = await packImages([join(folder, 'many.tar')], { dataset: 'web', out: join(folder, 'web'), heldOut: 0.2 })
  t.ok(tars.heldOut > 20 && tars.heldOut < 60, `${tars.heldOut} of 200`)
})

t.test('lists', async (t) => {
  const folder = t.testdir({ pictures: {} })
  for (const n of [0, 1]) writeFileSync(join(folder, 'pictures', `${n}.png`), numberedPng(n))
  writeText(
    folder,
    'list.csv',
    'path,prompt,group\npictures/0.png,"zero, the first",x\npictures/1.png,one,y\nnone.png,two,z\n',
  )
  const out = join(folder, 'out')
  const report = await packImages([join(folder, 'list.csv')], { dataset: 'list', out })
  t.match(report, { images: 2, leftOut: { noImage: 1 } })
  t.match(infosOf(out, report), {
    'list-pictures/0': { prompt: 'zero, the first', group: 'x', basename: '0.png' },
    'list-pictures/1': { prompt: 'one', group: 'y' },
  })
  writeText(
    folder,
    'list.jsonl',
    '{"image": "pictures/0.png", "caption": "zero", "id": "first"}\n\n{"image": "pictures/0.png", "caption": "again", "id": "first"}\n',
  )
  const second = await packImages([join(folder, 'list.jsonl')], { dataset: 'list', out: join(folder, 'out2') })
  t.match(second, { images: 1, leftOut: { twice: 1 } })
  t.match(infosOf(join(folder, 'out2'), second), { 'list-first': { prompt: 'zero' } })
  writeText(folder, 'bad.jsonl', '{"path": "a"}\n{\n')
  await t.rejects(packImages([join(folder, 'bad.jsonl')], { dataset: 'l', out: join(folder, 'out3') }), {
    code: 'ERR_FILE',
    message: /bad.jsonl, line 2 is not a JSON object/,
  })
})

t.test('WebDataset tars', async (t) => {
  const folder = t.testdir()
  await numberedTar(join(folder, 'a.tar'), 5)
  await writeTar(join(folder, 'b.tar'), [
    ['x.png', numberedPng(9)],
    ['x.json', JSON.stringify({ caption: 'from json', punsafe: 0.1 })],
    ['y.txt', 'without an image'],
  ])
  await numberedTar(join(folder, 'c.tar'), 3, 20)
  writeFileSync(join(folder, 'c.tar'), readFileSync(join(folder, 'c.tar')).subarray(0, 3000))
  const out = join(folder, 'out')
  const report = await packImages([folder], { dataset: 'web', out, limit: 4 })
  t.match(report, { images: 7, leftOut: { noImage: 1, badTar: 1 } })
  t.same(
    report.packs.map(({ images }) => images),
    [4, 3],
  )
  t.match(infosOf(out, report)['web-x'], { caption: 'from json', punsafe: 0.1, width: 8 })
})

t.test('an interrupted packing resumes behind the packs it finished', async (t) => {
  const input = folderOfImages(join(t.testdir({ in: {}, outs: {} }), 'in'), 25)
  const whole = join(t.testdirName, 'outs/whole')
  const options = { dataset: 'demo', limit: 10, workers: 3 }
  await packImages([input], { ...options, out: whole })
  const out = join(t.testdirName, 'outs/parts')
  const abort = new AbortController()
  const onProgress = (done: number): void => {
    if (done >= 14) abort.abort()
  }
  await t.rejects(packImages([input], { ...options, out, signal: abort.signal, onProgress }), { code: 'ERR_ABORTED' })
  t.same(readdirSync(out).sort(), ['demo-000000', 'demo-000000-info.json', 'demo-000000-lock', 'pack-report.json'])
  t.match(readPackReport(out), { complete: false, images: 10 })
  writeFileSync(join(out, '.demo-000001.999999999-0123456789ab.tmp'), 'left by a killed process')
  writeFileSync(join(out, `.demo-000001.${process.pid}-0123456789ab.tmp`), 'of a living one')
  const { ino } = statSync(join(out, 'demo-000000'))
  await t.rejects(packImages([input], { ...options, limit: 9, out }), { code: 'ERR_FILE', message: /another input/ })
  const report = await packImages([input], { ...options, out })
  t.match(report, { complete: true, images: 25 })
  t.equal(statSync(join(out, 'demo-000000')).ino, ino, 'the finished pack was not made again')
  t.same(
    readdirSync(out).filter((name) => name.startsWith('.')),
    [`.demo-000001.${process.pid}-0123456789ab.tmp`],
  )
  for (const name of readdirSync(whole).filter((name) => name !== 'pack-report.json'))
    t.ok(readFileSync(join(out, name)).equals(readFileSync(join(whole, name))), name)
  t.same(await packImages([input], { ...options, out }), report, 'a complete one is left alone')
  rmSync(join(out, 'demo-000001'))
  await t.rejects(packImages([input], { ...options, out }), { code: 'ERR_FILE', message: /does not hold all packs/ })
})

t.test('tars resume in the middle', async (t) => {
  const folder = t.testdir({ in: {}, outs: {} })
  await numberedTar(join(folder, 'in/a.tar'), 7)
  await numberedTar(join(folder, 'in/b.tar'), 8, 7)
  const options = { dataset: 'demo', limit: 4, workers: 2 }
  const whole = await packImages([join(folder, 'in')], { ...options, out: join(folder, 'outs/a') })
  for (const stop of [1, 5, 9, 13]) {
    const out = join(folder, 'outs', `b${stop}`)
    const abort = new AbortController()
    const onProgress = (done: number): void => {
      if (done >= stop) abort.abort()
    }
    await t.rejects(packImages([join(folder, 'in')], { ...options, out, signal: abort.signal, onProgress }))
    const { packs } = await packImages([join(folder, 'in')], { ...options, out })
    t.same(packs, whole.packs, `stopped at ${stop}`)
  }
})

t.test('verify finds what was changed', async (t) => {
  const folder = t.testdir({ in: {} })
  const out = join(folder, 'out')
  await packImages([folderOfImages(join(folder, 'in'), 12)], { dataset: 'demo', out, limit: 6 })
  t.same(await problemsOf(out), [])
  const info = join(out, 'demo-000000-info.json')
  const infoBytes = readFileSync(info, 'utf8')
  writeFileSync(info, infoBytes.replace('picture 3', 'picturf 3'))
  t.match(await problemsOf(out), [/demo-000000-info.json is not as it was packed/])
  writeFileSync(info, infoBytes.replace('"width": 8', '"width": 9'))
  t.match(await problemsOf(out), [/is not as it was packed/, /image "demo-0000" of .* has 8 × 8 pixels, but .* 9 × 8/])
  writeFileSync(info, infoBytes)
  const pack = join(out, 'demo-000001')
  const bytes = readFileSync(pack)
  const image = numberedPng(8)
  bytes[bytes.indexOf(image) + image.length - 20] ^= 1
  writeFileSync(pack, bytes)
  t.match(await problemsOf(out), [/demo-000001 is not as it was packed/, /image "demo-0008" of .* cannot be decoded/])
  writeFileSync(pack, 'x')
  t.match(await problemsOf(out), [/is not as it was packed/, /shorter than its headers/])
  rmSync(pack)
  await t.rejects(problemsOf(out), { code: 'ERR_FILE', message: /demo-000001 is missing/ })
})

t.test('what cannot be packed says why', async (t) => {
  const folder = t.testdir({ empty: {}, 'a.zip': 'x', report: { 'pack-report.json': '{}' } })
  mkdirSync(join(folder, 'in'))
  folderOfImages(join(folder, 'in'), 1)
  const out = join(folder, 'out')
  const cases: [string[], object, RegExp][] = [
    [['none'], {}, /none does not exist/],
    [['empty'], {}, /holds no images and no tars/],
    [['a.zip'], {}, /is no input to pack/],
    [['in', 'empty'], {}, /must all be WebDataset tars/],
    [['in'], { dataset: 'a/b' }, /name of the data set/],
    [['in'], { out: join(folder, 'report') }, /is no report of "star pack"/],
    [['in'], { out: '/proc/none' }, /cannot be written/],
  ]
  for (const [paths, options, message] of cases)
    await t.rejects(
      packImages(
        paths.map((path) => join(folder, path)),
        { dataset: 'demo', out, ...options },
      ),
      { name: 'StarError', message },
      String(message),
    )
  t.notOk(existsSync(out))
})
