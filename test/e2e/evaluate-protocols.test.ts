/** `star evaluate --protocol` as users run it: what each benchmark's scorer finds, resuming, several processes, bad input. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { decodeImage } from '../../lib/data/index.js'
import { Star } from '../../lib/index.js'
import { rulePicture, writeRuleClip } from '../support/metric-pictures.js'
import { writeBackbone } from '../support/random-backbone.js'
import { refused } from '../support/refusal.js'
import { type CommandResult, star } from '../support/star-command.js'
import { tinySide, writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir()
const model = join(root, 'tiny')
writeTinyModel(model)
const clip = writeRuleClip(join(root, 'clip'))
const cache = join(root, 'cache')
cpSync(writeBackbone(root), join(cache, 'star-t2i', 'backbones', 'efficientnet-lite0.safetensors'))
const env = { XDG_CACHE_HOME: cache }
const common = ['--device', 'cpu', '--seed', '7', '--top-k', '20']
const evaluate = (...args: string[]): Promise<CommandResult> => star(['evaluate', model, ...args, ...common], { env })

async function mjhqFolder(folder: string): Promise<string> {
  const meta: Record<string, object> = {}
  for (const [i, category] of ['animals', 'food', 'animals', 'food', 'animals', 'food', 'animals'].entries()) {
    const id = `id${i}`
    meta[id] = { category, prompt: `a picture of number ${i}` }
    mkdirSync(join(folder, category), { recursive: true })
    const { data, width, height } = rulePicture(`mjhq.${i}`, [40, 40])
    await sharp(data, { raw: { width, height, channels: 3 } })
      .jpeg()
      .toFile(join(folder, category, `${id}.jpg`))
  }
  writeFileSync(join(folder, 'meta_data.json'), JSON.stringify(meta))
  return folder
}

interface Figures {
  pictures: number
  fid: number | null
  clip: number | null
}
interface Report {
  settings: { sampling: { topK: number; seed: number } }
  categories: Record<string, Figures>
  all: Figures
}
const reportIn = (folder: string): Report => JSON.parse(readFileSync(join(folder, 'evaluation.json'), 'utf8')) as Report
const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()

t.test('MJHQ: figures by category, which several processes share and a second run resumes', async (t) => {
  const data = await mjhqFolder(join(root, 'mjhq'))
  const out = join(root, 'alone')
  const args = ['--protocol', 'mjhq', '--data', data, '--features', 'efficientnet-lite0', '--clip', clip]
  const { code, stdout, stderr } = await evaluate(...args, '--out', out)
  t.equal(code, 0, stderr)
  t.match(
    stdout,
    /^category +pictures +distance of efficientnet-lite0 +CLIP score\nanimals +4 +[\d.]+ +-?[\d.]+\nfood +3 /,
  )
  t.match(stderr, /not comparable with published FID/)
  const alone = reportIn(out)
  t.match(alone.settings.sampling, { topK: 20, seed: 7 })
  t.same(
    Object.entries(alone.categories).map(([name, { pictures }]) => [name, pictures]),
    [
      ['animals', 4],
      ['food', 3],
    ],
  )
  t.equal(alone.all.pictures, 7)
  const mean = (4 * alone.categories.animals.clip! + 3 * alone.categories.food.clip!) / 7
  t.ok(Math.abs(alone.all.clip! - mean) < 1e-9, 'the score of all is the mean over pictures')
  t.ok(alone.all.fid! > 0)
  const pictures = filesBelow(join(out, 'pictures'))
  t.same(pictures.slice(0, 2), ['animals/id0.png', 'animals/id2.png'])
  t.match(await Star.settingsOf(join(out, 'pictures', 'food', 'id3.png')), {
    prompt: 'a picture of number 3',
    seed: 7,
    topK: 20,
  })

  // What is missing is drawn again to the byte, and what was measured is not.
  const one = join(out, 'pictures', 'food', 'id3.png')
  const before = readFileSync(one)
  for (const file of [one, join(out, 'evaluation.json'), join(out, 'parts', 'food-0-of-1.part')]) rmSync(file)
  t.equal((await evaluate(...args, '--out', out)).code, 0)
  t.ok(readFileSync(one).equals(before))
  t.same(reportIn(out), alone)

  const shared = join(root, 'shared')
  const command = ['launch', '--nproc-per-node', '2', 'evaluate', model, ...args, '--out', shared, ...common]
  const launched = await star(command, { env })
  t.equal(launched.code, 0, launched.stderr)
  t.equal(launched.stdout.match(/^all +7/gm)?.length, 1, 'the last process prints the figures')
  t.same(filesBelow(join(shared, 'pictures')), pictures)
  for (const file of pictures)
    t.ok(readFileSync(join(shared, 'pictures', file)).equals(readFileSync(join(out, 'pictures', file))), file)
  const both = reportIn(shared)
  for (const name of ['fid', 'clip'] as const) t.ok(Math.abs(both.all[name]! / alone.all[name]! - 1) < 1e-6, name)

  refused(
    t,
    await evaluate(...args, '--out', out, '--cfg', '3'),
    /were drawn with other settings .*choose another folder/,
  )
  rmSync(join(data, 'food', 'id5.jpg'))
  refused(t, await evaluate(...args, '--out', out), /id5\.jpg is not there \(1 of 7 pictures are missing\)/)
})

/** R, G, B bytes of a PNG. */
const pixels = async (file: string): Promise<Uint8Array> =>
  Uint8Array.from((await decodeImage(readFileSync(file))).data)

t.test('GenEval: a folder a prompt with its line and four samples', async (t) => {
  const prompts = join(root, 'metadata.jsonl')
  const lines = [
    { tag: 'single_object', include: [{ class: 'bench', count: 1 }], prompt: 'a photo of a bench' },
    { tag: 'colors', include: [{ class: 'dog', count: 1, color: 'red' }], prompt: 'a photo of a red dog' },
  ]
  writeFileSync(prompts, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const out = join(root, 'geneval')
  const { code, stdout, stderr } = await evaluate('--protocol', 'geneval', '--prompts', prompts, '--out', out)
  t.equal(code, 0, stderr)
  t.match(stdout, /geneval\/pictures: four pictures of each of 2 prompts\n.*evaluate_images\.py .*geneval\/pictures/)
  const samples = Array.from({ length: 4 }, (_, j) => `samples/0000${j}.png`)
  t.same(
    filesBelow(join(out, 'pictures')),
    ['00000', '00001'].flatMap((folder) => ['metadata.jsonl', ...samples].map((name) => `${folder}/${name}`)),
  )
  t.same(JSON.parse(readFileSync(join(out, 'pictures', '00001', 'metadata.jsonl'), 'utf8')), lines[1])
  const given = await Star.settingsOf(join(out, 'pictures', '00001', 'samples', '00002.png'))
  t.match(given, { prompt: 'a photo of a red dog', seed: 9 })
  await using loaded = await Star.load(model, { device: 'cpu' })
  const { images } = await loaded.generate('a photo of a red dog', { seed: 9, topK: 20 })
  t.same(await pixels(join(out, 'pictures', '00001', 'samples', '00002.png')), images[0].data)
})

t.test('DPG-Bench: four pictures 2×2 under the name of the prompt', async (t) => {
  const folder = join(root, 'prompts')
  mkdirSync(folder)
  writeFileSync(join(folder, '12.txt'), 'a bench below a tree\n')
  writeFileSync(join(folder, 'coco3.txt'), 'two dogs')
  const out = join(root, 'dpg')
  const { code, stdout, stderr } = await evaluate('--protocol', 'dpg', '--prompts', folder, '--out', out)
  t.equal(code, 0, stderr)
  t.match(stdout, new RegExp(`dist_eval\\.sh .*dpg/pictures ${tinySide} of ELLA`))
  t.same(filesBelow(join(out, 'pictures')), ['12.png', 'coco3.png'])
  await using loaded = await Star.load(model, { device: 'cpu' })
  const { images } = await loaded.generate('two dogs', { count: 4, seed: 7, topK: 20 })
  const grid = await pixels(join(out, 'pictures', 'coco3.png'))
  const row = 3 * tinySide
  images.forEach(({ data }, i) => {
    const rows = Array.from({ length: tinySide }, (_, y) => {
      const start = ((i >> 1) * tinySide + y) * 2 * row + (i % 2) * row
      return [...grid.subarray(start, start + row)]
    })
    t.same(rows.flat(), [...data], `picture ${i}`)
  })

  const table = join(root, 'dpg_bench.csv')
  writeFileSync(
    table,
    'item_id,text,keywords\n12,"a bench, below a tree",x\n12,"a bench, below a tree",y\ncoco3,two dogs,z\n',
  )
  t.equal((await evaluate('--protocol', 'dpg', '--prompts', table, '--out', join(root, 'table'))).code, 0)
  t.same(filesBelow(join(root, 'table', 'pictures')), ['12.png', 'coco3.png'])
  t.same(await pixels(join(root, 'table', 'pictures', 'coco3.png')), grid)
  t.match(JSON.stringify(await sharp(join(root, 'table', 'pictures', '12.png')).metadata()), /a bench, below a tree/)
})

t.test('bad input is one line', async (t) => {
  const out = ['--out', join(root, 'refused')]
  const given = async (message: RegExp, ...args: string[]): Promise<void> =>
    refused(t, await evaluate(...args, ...out), message)
  const write = (name: string, text: string): string => {
    writeFileSync(join(root, name), text)
    return join(root, name)
  }
  await given(/--data is missing/)
  await given(/MJHQ-30K: name it by --data/, '--protocol', 'mjhq')
  await given(/takes its prompts from --prompts/, '--protocol', 'geneval')
  await given(/leave out --features/, '--protocol', 'dpg', '--prompts', root, '--features', 'efficientnet-lite0')
  await given(/--prompts is for --protocol geneval or dpg/, '--data', root, '--prompts', root)
  await given(/holds no meta_data\.json/, '--protocol', 'mjhq', '--data', model)
  await given(
    /line 1: expected a JSON object with a "prompt"/,
    '--protocol',
    'geneval',
    '--prompts',
    write('a.jsonl', '{"tag":1}'),
  )
  await given(/holds no prompt/, '--protocol', 'geneval', '--prompts', write('b.jsonl', '\n'))
  await given(/there is no such file/, '--protocol', 'geneval', '--prompts', join(root, 'none'))
  await given(/expected item_id and text/, '--protocol', 'dpg', '--prompts', write('c.csv', 'id,prompt\n1,x\n'))
  await given(
    /expected one that a file can have/,
    '--protocol',
    'dpg',
    '--prompts',
    write('d.csv', 'item_id,text\n../x,y\n'),
  )
  await given(/'best' is invalid.*mjhq, geneval, dpg/, '--protocol', 'best')
  const pack = await star(['launch', '--nproc-per-node', '2', 'evaluate', model, '--data', root, ...out], { env })
  t.equal(pack.code === 0, false)
  t.match(pack.stderr, /evaluation on a pack takes one process, and 2 were started/)
  t.notOk(existsSync(join(root, 'refused')), 'nothing was written')
})
