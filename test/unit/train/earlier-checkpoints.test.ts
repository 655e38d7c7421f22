/** Run folders and checkpoints of an earlier version (test/data/run-of-0.1) open, resume and become models. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Star } from '../../../lib/index.js'
import { packageRoot } from '../../../lib/native/index.js'
import { scope, type Tensor } from '../../../lib/tensor/index.js'
import { checkpointWeights } from '../../../lib/train/checkpoint/checkpoint.js'
import {
  checkpointEntries,
  chooseCheckpoint,
  describeCheckpoint,
  exportCheckpoint,
} from '../../../lib/train/checkpoint/checkpoint-report.js'
import { checksums } from '../../../lib/train/checkpoint/checksums.js'
import { describedMetadata, encodeMetadata, parseMetadata } from '../../../lib/train/checkpoint/format.js'
import { runSchema, Trainer } from '../../../lib/train/index.js'
import { readSafetensors, writeSafetensors } from '../../../lib/weights/index.js'
import { runSteps, tinyTokenizerRun, writeTinyPack } from '../../support/tiny-run.js'

const data = join(packageRoot, 'test', 'data', 'run-of-0.1')
const folder = t.testdir()
const pack = await writeTinyPack(folder)
const tokenizer = join(folder, 'tokenizer')
const tokenizerModel = {
  ...(tinyTokenizerRun('', '', 1).model as object),
  middleAttention: false,
}
await runSteps({ ...tinyTokenizerRun(tokenizer, pack, 1), model: tokenizerModel })

/** The run as it was configured, with data and tokenizer where this test has them. */
function configOf(runFolder: string): Record<string, unknown> {
  const config = JSON.parse(readFileSync(join(data, 'transformer', 'config.json'), 'utf8'))
  return { ...config, runFolder, data: { ...config.data, packs: [pack] }, tokenizer: join(tokenizer, 'model') }
}

function copied(name: string): string {
  const run = join(folder, `${name}-run`)
  cpSync(join(data, name), run, { recursive: true })
  return run
}

const bytes = (tensor: Tensor): Buffer => Buffer.from(new Uint8Array(tensor.handle.read()))

t.test('a run resumes from its earlier checkpoint, with every tensor and the whole state', async (t) => {
  const run = copied('transformer')
  const file = join(run, 'checkpoints', 'step-3.safetensors')
  const before = describeCheckpoint(file)
  const earlier = scope(() => new Map([...readSafetensors(file).tensors].map(([name, x]) => [name, bytes(x)])))
  using trainer = await Trainer.open(configOf(run))
  t.equal(trainer.step, 3)
  t.equal(trainer.totalSteps, 5, 'two epochs of ten images in batches of four')
  await trainer.save()
  scope(() => {
    const { tensors } = readSafetensors(file)
    t.same([...tensors.keys()].sort(), [...earlier.keys()].sort())
    for (const [name, tensor] of tensors) t.ok(bytes(tensor).equals(earlier.get(name)!), name)
  })
  const { config, bytes: size, ...after } = describeCheckpoint(file)
  const { config: stored, bytes: _, ...rest } = before
  t.ok(size > 1e5)
  t.strictSame(after, rest, 'steps, random states, place in the data, loss scale, best')
  t.strictSame(config.optimizer, stored.optimizer)
  t.match(config, { name: 'tiny', seed: 3, model: { depth: 1, width: 8 }, progressive: { warmupSteps: 0.625 } })
  const steps: number[] = []
  for await (const { step } of trainer) steps.push(step)
  t.same(steps, [4, 5])
  t.match(readFileSync(join(run, 'log.txt'), 'utf8'), /from step 3/)
})

t.test('a stored configuration is one that the schema accepts', async (t) => {
  const run = copied('transformer')
  const { config } = describeCheckpoint(chooseCheckpoint(run))
  t.strictSame(runSchema.parse(config), config)
  t.match(config, { optimizer: { steps: 5, warmupSteps: 1 }, work: { logEvery: 1, validateEvery: 1.25 } })
  for (const key of ['epochs', 'warmupEpochs']) t.notOk(key in config.optimizer, key)
  for (const key of ['logsPerEpoch', 'validateEpochs']) t.notOk(key in config.work, key)
})

t.test('checkpoints of every kind, and of sharded runs', async (t) => {
  const metadata = JSON.parse(readFileSync(join(data, 'metadata.json'), 'utf8')) as Record<
    string,
    Record<string, string>
  >
  for (const [kind, texts] of Object.entries(metadata)) {
    const { config, state, model } = describedMetadata('old', texts)
    t.equal(config.kind, kind)
    t.equal(state.step, kind === 'sampler' ? 2 : 3)
    t.ok(model.tokenizer)
    const described = describedMetadata('old', texts)
    const { format: _, ...content } = described
    t.strictSame(describedMetadata('new', encodeMetadata(content)), described, 'written and read again')
  }
  const sharded = copied('sharded')
  t.match(checkpointEntries(sharded), [{ step: 3, fault: null }])
  const file = chooseCheckpoint(sharded)
  t.match(describeCheckpoint(file), { kind: 'transformer', files: 2, step: 3, config: { optimizer: { shard: true } } })
  scope(() => {
    const weights = new Map(checkpointWeights(file).map(({ name, tensor }) => [name, tensor.shape]))
    t.same(weights.get('blocks.0.attn.mat_qkv.weight'), [24, 8])
  })
})

t.test('a model is made of one', async (t) => {
  const file = chooseCheckpoint(copied('transformer'))
  const moved = join(folder, 'moved.safetensors')
  scope(() => {
    const { tensors, metadata } = readSafetensors(file)
    // The tokenizer was somewhere else.
    const config = JSON.stringify({ ...JSON.parse(metadata.config), tokenizer: join(tokenizer, 'model') })
    const { checksums: _, ...rest } = metadata
    const texts = { ...rest, config }
    const written = Array.from(tensors, ([name, tensor]) => ({ name, read: () => bytes(tensor) }))
    writeSafetensors(moved, tensors, { ...texts, checksums: checksums(written, texts) })
  })
  const model = join(folder, 'model')
  await exportCheckpoint(moved, model, { signal: undefined, onProgress: () => {} })
  await using star = await Star.load(model, { device: 'cpu' })
  const { images } = await star.generate('a red square', { seed: 1 })
  t.equal(images.length, 1)
})

t.test('what is no checkpoint, or one of another version, is told', async (t) => {
  const [texts] = Object.values(
    JSON.parse(readFileSync(join(data, 'metadata.json'), 'utf8')) as Record<string, Record<string, string>>,
  )
  t.throws(() => parseMetadata('x', {}), { code: 'ERR_FILE', message: /^x is not a training checkpoint/ })
  t.throws(() => parseMetadata('x', { ...texts, state: '{' }), { code: 'ERR_FILE', message: /"state": is no JSON/ })
  const { optimizer: _, ...lacking } = texts
  t.throws(() => parseMetadata('x', lacking), { code: 'ERR_FILE', message: /"optimizer" is missing/ })
  const other = JSON.stringify({ ...JSON.parse(texts.config), later: 1 })
  t.throws(() => describedMetadata('x', { ...texts, config: other }), { code: 'ERR_FILE', message: /later/ })
  t.equal(parseMetadata('x', { ...texts, config: other }).state.step, 3, 'it resumes all the same')
  const file = join(folder, 'plain.safetensors')
  writeFileSync(file, readFileSync(join(tokenizer, 'model', 'tokenizer.safetensors')))
  t.throws(() => describeCheckpoint(file), { code: 'ERR_FILE', message: /is not a training checkpoint/ })
})
