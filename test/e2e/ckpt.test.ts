/** `star ckpt`: list, show and export, of plain and of sharded runs. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Star } from '../../lib/index.js'
import type { CheckpointDescription, CheckpointEntry } from '../../lib/train/checkpoint/checkpoint-report.js'
import { star } from '../support/star-command.js'
import { runSteps, tinySamplerRun, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'

const folder = t.testdir()
const pack = await writeTinyPack(folder)
const tokenizer = join(folder, 'tokenizer')
await runSteps(tinyTokenizerRun(tokenizer, pack, 3))
const run = join(folder, 'run')
const config = {
  ...tinyTransformerRun(run, pack, join(tokenizer, 'model'), 5),
  work: { logEvery: 1, saveEvery: 1, keep: 9, picturesEvery: 0, validateEvery: 2 },
}
await runSteps(config)

const json = async <T>(...args: string[]): Promise<T> => {
  const { code, stdout, stderr } = await star(['ckpt', ...args, '--json'])
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as T
}

/** Tensors of a model folder, byte by byte. */
const weights = (model: string, part: string): Buffer => readFileSync(join(model, `${part}.safetensors`))

t.test('list tells steps, sizes, the best and the damaged', async (t) => {
  const entries = await json<CheckpointEntry[]>('list', run)
  t.strictSame(
    entries.map(({ step }) => step),
    [5, 4, 3, 2, 1],
  )
  t.ok(entries.every(({ bytes, fault }) => bytes > 1e5 && fault === null))
  t.ok(entries.some(({ best }) => best))
  const broken = entries[1].file
  const before = readFileSync(broken)
  const bytes = Buffer.from(before)
  bytes[bytes.length - 5] ^= 1
  writeFileSync(broken, bytes)
  const { stdout } = await star(['ckpt', 'list', run])
  t.match(stdout, /^step 5 .*\nstep 4 .*damaged: .*is not what was written.*\nstep 3 /)
  writeFileSync(broken, before)
})

t.test('show tells what is in one', async (t) => {
  const shown = await json<CheckpointDescription>('show', run, '--step', '3')
  t.match(shown, { kind: 'transformer', step: 3, files: 1, optimizerStep: 3, config: { name: 'tiny' } })
  t.equal(shown.groups.optimizer.tensors, 2 * shown.groups.ema.tensors)
  t.equal(shown.tensors.length, shown.groups.model.tensors + shown.groups.optimizer.tensors + shown.groups.ema.tensors)
  const { stdout } = await star(['ckpt', 'show', run])
  t.match(stdout, /step {2,}5\n/)
  t.match(stdout, /optimizer {2,}\d+ tensors, .*MB/)
})

t.test('export writes what the run writes at its end', async (t) => {
  for (const [name, path, part] of [
    ['transformer', run, 'transformer'],
    ['tokenizer', tokenizer, 'tokenizer'],
  ]) {
    const out = join(folder, `exported-${name}`)
    const { code, stdout, stderr } = await star(['ckpt', 'export', path, out])
    t.equal(code, 0, stderr)
    t.equal(stdout, `${out}\n`)
    t.strictSame(readdirSync(out), readdirSync(join(path, 'model')))
    t.ok(weights(out, part).equals(weights(join(path, 'model'), part)), name)
    t.strictSame(readFileSync(join(out, 'model.json'), 'utf8'), readFileSync(join(path, 'model', 'model.json'), 'utf8'))
  }
  const early = join(folder, 'early')
  t.equal((await star(['ckpt', 'export', run, early, '--step', '2'])).code, 0)
  t.notOk(weights(early, 'transformer').equals(weights(join(run, 'model'), 'transformer')))
  await using loaded = await Star.load(early, { device: 'cpu' })
  const { images } = await loaded.generate('a red square', { seed: 1 })
  t.equal(images.length, 1)
  t.equal((await star(['ckpt', 'export', run, join(folder, 'best'), '--best'])).code, 0)
})

t.test('a sampler head is exported with the model it stands on', async (t) => {
  const head = join(folder, 'head')
  await runSteps(tinySamplerRun(head, pack, join(run, 'model'), 2))
  const out = join(folder, 'exported-head')
  const { code, stderr } = await star(['ckpt', 'export', head, out])
  t.equal(code, 0, stderr)
  for (const part of ['tokenizer', 'transformer', 'sampler-head'])
    t.ok(weights(out, part).equals(weights(join(head, 'model'), part)), part)
})

t.test('what is not there is told in one line', async (t) => {
  const refused = async (args: string[], words: RegExp): Promise<void> => {
    const { code, stderr } = await star(['ckpt', ...args])
    t.equal(code, 2)
    t.match(stderr, words)
  }
  await refused(['list', folder], /error: .* is no run folder: it has no folder "checkpoints"\n$/)
  await refused(['show', run, '--step', '7'], /error: .* has no checkpoint of step 7; there are: 5, 4, 3, 2, 1\n$/)
  await refused(['show', run, '--step', '1', '--best'], /both given/)
  await refused(['export', join(run, 'config.json'), join(folder, 'no')], /error: .*config\.json/)
})
