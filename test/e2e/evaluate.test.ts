/** `star evaluate` as users run it: figures of a tiny model on packs of both kinds, and how it answers bad input. */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writePack } from '../../lib/data/index.js'
import { writeRuleClip, writeRuleInception } from '../support/metric-pictures.js'
import { writeBackbone } from '../support/random-backbone.js'
import { refused } from '../support/refusal.js'
import { type CommandResult, star } from '../support/star-command.js'
import { numberedEntry, numberedPng } from '../support/tiny-images.js'
import { writeTinyModel } from '../support/tiny-model.js'

const root = t.testdir()
const model = join(root, 'tiny')
writeTinyModel(model)
const env = { XDG_CACHE_HOME: join(root, 'cache') }
const evaluate = (...args: string[]): Promise<CommandResult> =>
  star(['evaluate', ...args, '--device', 'cpu', '--seed', '3'], { env })

/** Two styles of each thing; of the last thing one style is held out. */
async function iconPack(path: string, things: number): Promise<string> {
  const entries = Array.from({ length: 2 * things }, (_, i) => {
    const [thing, style] = [Math.floor(i / 2), i % 2 ? 'flat icon' : '3D']
    const heldOut = thing === things - 1 && i % 2 ? { split: 'held-out', heldOut: 'pair' } : { split: 'train' }
    return numberedEntry(40 * i, {
      prompt: `a thing of number ${thing}, ${style}`,
      concept: `c${thing}`,
      tags: [`word ${thing}`, 'thing'],
      style,
      ...heldOut,
    })
  })
  await writePack(path, entries)
  return path
}

interface Report {
  data: object
  captions: Record<string, { count: number } | null>
  tokenizer: { pictures: number; ssim: number | null; perceptual: number | null }
  tokens: { captions: number; perScale: number[] }
  diversity: { prompts: number }
  frechet: { comparable: boolean; drawn: number; pictures: number; distance: number } | null
  clip: { pictures: number; score: number } | null
}
const reportIn = (folder: string): Report => JSON.parse(readFileSync(join(folder, 'evaluation.json'), 'utf8')) as Report

t.test('a pack with styles, concepts and tags', async (t) => {
  const pack = await iconPack(join(root, 'icons-000000'), 7)
  const out = join(root, 'out')
  const inception = writeRuleInception(root)
  const clip = writeRuleClip(join(root, 'clip'))
  const args = [model, '--data', pack, '--count', '4', '--out', out, '--features', inception, '--clip', clip]
  const { code, stdout, stderr } = await evaluate(...args)
  t.equal(code, 0, stderr)
  t.match(stderr, /^drawing captions: 4\n.*note: no perceptual distance, .*run "star data backbone" once\n$/s)
  t.match(stdout, /unseen pair: right style +\d/)
  t.match(stdout, /^FID +[\d.e+]+ \(4 drawn, 13 of the pack\)$/m)
  t.match(stdout, /\/out\/index\.html\n$/)
  t.same(readdirSync(out).sort(), ['evaluation.json', 'index.html', 'sheet.png'])
  const report = reportIn(out)
  t.match(report.data, { train: 13, heldOut: 1 })
  const { retrieval, inStyle, words, composition } = report.captions
  t.same(
    [retrieval, inStyle, words, composition].map((figures) => figures?.count),
    [4, 4, 4, 1],
  )
  t.match(report.tokenizer, { pictures: 1, ssim: null, perceptual: null })
  t.match(report.tokens, { captions: 4 })
  t.equal(report.tokens.perScale.length, 3)
  t.equal(report.diversity.prompts, 4)
  t.match(report.frechet, { comparable: true, drawn: 4, pictures: 13 })
  t.equal(report.clip?.pictures, 4)
  const page = readFileSync(join(out, 'index.html'), 'utf8')
  t.match(page, /<td>flat icon<\/td>/)
  t.match(page, /<img alt="Contact sheet" src="data:image\/png;base64,iVBOR/)
  const kept = readdirSync(join(env.XDG_CACHE_HOME, 'star-t2i', 'feature-statistics'))
  t.equal(kept.length, 1, 'statistics of the pack are kept')

  // The same again, with statistics from the cache.
  await evaluate(...args.slice(0, 5), '--out', join(root, 'again'), ...args.slice(7))
  t.same(reportIn(join(root, 'again')), report, 'the same figures')
})

t.test('a pack without styles, and features of the backbone', async (t) => {
  const pack = join(root, 'plain-000000')
  await writePack(
    pack,
    Array.from({ length: 6 }, (_, i) => numberedEntry(i, i === 5 ? { split: 'held-out' } : {})),
  )
  const folder = join(root, 'with-backbone')
  cpSync(writeBackbone(root), join(folder, 'star-t2i', 'backbones', 'efficientnet-lite0.safetensors'))
  const args = ['--data', pack, '--count', '3', '--features', 'efficientnet-lite0', '--out', join(root, 'plain')]
  const { code, stdout, stderr } = await star(['evaluate', model, ...args, '--device', 'cpu'], {
    env: { XDG_CACHE_HOME: folder },
  })
  t.equal(code, 0, stderr)
  t.match(stdout, /Fréchet distance of efficientnet-lite0 .*; not comparable with published FID\)/)
  t.notMatch(stdout, /style|word|pair/)
  const report = reportIn(join(root, 'plain'))
  t.match(report.captions, { inStyle: null, words: null, composition: null })
  t.ok(report.tokenizer.perceptual !== null && report.tokenizer.perceptual > 0)
})

t.test('bad input is one line', async (t) => {
  const out = ['--out', join(root, 'refused')]
  const pack = join(root, 'few-000000')
  await writePack(pack, [numberedEntry(1), numberedEntry(2)])
  const bare = join(root, 'bare-000000')
  const { info } = numberedEntry(1)
  await writePack(bare, [{ key: 'a', info: { ...info, prompt: '' }, image: numberedPng(1) }])
  refused(t, await evaluate(model, '--data', bare, ...out), /holds no picture of at least 8 pixels with a caption/)
  refused(t, await evaluate(model, '--data', join(root, 'none'), ...out), /none does not exist: give a pack/)
  const only = join(root, 'tokenizer-only')
  cpSync(model, only, { recursive: true })
  const config = JSON.parse(readFileSync(join(only, 'model.json'), 'utf8'))
  delete config.textEncoder
  writeFileSync(join(only, 'model.json'), JSON.stringify(config))
  refused(t, await evaluate(only, '--data', pack, ...out), /does not say its text encoder/)
  refused(
    t,
    await evaluate(model, '--data', pack, '--features', 'x', ...out),
    /no features "x": expected efficientnet-lite0/,
  )
  const other = join(model, 'tokenizer.safetensors')
  refused(t, await evaluate(model, '--data', pack, '--features', other, ...out), /expected the Inception state dict/)
  refused(t, await evaluate(model, '--data', pack, '--clip', model, ...out), /holds no CLIP model/)
  refused(t, await evaluate(model, '--data', pack, '--count', '1', ...out), /--count is "1", expected a whole number/)
  refused(t, await evaluate(model, '--data', pack, '--top-p', '2', ...out), /--top-p is "2"/)
  t.notOk(existsSync(join(root, 'refused')), 'nothing was written')
})
