/** Trainings with Muon: they learn, resume to the byte in every precision, take the same steps on several processes; what is refused. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { transformerCounts } from '../../../lib/plan/index.js'
import { scope } from '../../../lib/tensor/index.js'
import { listCheckpoints } from '../../../lib/train/checkpoint/checkpointer.js'
import { writeReferenceLayout } from '../../../lib/train/checkpoint/reference-layout.js'
import { optimizerSchema } from '../../../lib/train/config/optimizer.js'
import { Trainer } from '../../../lib/train/index.js'
import { type TransformerRunConfig, transformerRunSchema } from '../../../lib/train/kinds/transformer/config.js'
import { modelOfRun, planTransformerRun } from '../../../lib/train/kinds/transformer/plan.js'
import { readSafetensors } from '../../../lib/weights/index.js'
import { type Trained, trainedWeights } from '../../support/rank-training.js'
import { runRanks } from '../../support/ranks.js'
import {
  runSteps,
  tinyLoraRun,
  tinySamplerRun,
  tinyTokenizerRun,
  tinyTransformerRun,
  writeTinyPack,
} from '../../support/tiny-run.js'

type Config = Record<string, unknown> & { optimizer: Record<string, unknown>; runFolder: string }

const folder = t.testdir()
const pack = await writeTinyPack(folder)
const tokenizer = join(folder, 'tokenizer', 'model')
await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 12))

function muon(config: Record<string, unknown>, optimizer: object = {}, changes: object = {}): Config {
  const given = config as Config
  return { ...given, ...changes, optimizer: { ...given.optimizer, kind: 'muon', ...optimizer } }
}

const transformer = (name: string, steps: number, optimizer: object = {}, changes: object = {}): Config =>
  muon(tinyTransformerRun(join(folder, name), pack, tokenizer, steps), optimizer, changes)

/** What the newest checkpoint of a run holds after its header. */
function tensorBytes({ runFolder }: Config): Buffer {
  const bytes = readFileSync(listCheckpoints(runFolder)[0].file)
  return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))
}

for (const precision of ['f32', 'bf16', 'f16'])
  t.test(`a run in ${precision} that is stopped goes on to the byte`, async (t) => {
    const steps = 9
    const clipped = { clip: 0.5, ema: 0.9 }
    const alone = transformer(`alone-${precision}`, steps, clipped, { precision })
    const taken = await runSteps(alone)
    t.ok(
      taken.some(({ gradNorm }) => gradNorm > 0.5),
      'clipping matters',
    )
    const stopped = transformer(`stopped-${precision}`, steps, clipped, { precision })
    await runSteps(stopped, 4)
    const rest = await runSteps(stopped)
    t.equal(rest[0].step, 5)
    t.strictSame(
      rest.map(({ loss }) => loss),
      taken.slice(4).map(({ loss }) => loss),
    )
    t.ok(tensorBytes(stopped).equals(tensorBytes(alone)), 'all tensors of the checkpoint')
    scope(() => {
      const names = [...readSafetensors(listCheckpoints(alone.runFolder)[0].file).tensors.keys()]
      t.ok(names.includes('optimizer.blocks.1.ffn.fc1.weight.momentum_buffer'))
      t.ok(names.includes('optimizer.head_logits.weight.exp_avg_sq'))
      t.notOk(names.includes('optimizer.blocks.1.ffn.fc1.weight.exp_avg_sq'))
    })
  })

t.test('transformer and sampler head lower their losses', async (t) => {
  const mean = (values: number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length
  const base = transformer('base', 30)
  for (const config of [base, muon(tinySamplerRun(join(folder, 'sampler'), pack, join(folder, 'base', 'model'), 30))]) {
    const losses = (await runSteps(config)).map(({ loss }) => loss)
    t.ok(mean(losses.slice(-5)) < 0.9 * mean(losses.slice(0, 5)), `${losses[0]} to ${losses.at(-1)}`)
  }
})

t.test('two processes share the work and take the steps of one', async (t) => {
  const programs = new URL('../../support/rank-training.js', import.meta.url)
  const trainOn = (size: number, config: Config): Promise<Trained[]> =>
    runRanks<Trained>(t, programs, 'train', { size, input: { config }, seconds: 240 })
  const [alone] = await trainOn(1, transformer('one', 4))
  const ranks = await trainOn(2, transformer('two', 4))
  for (const { losses } of ranks)
    losses.forEach((loss, i) => {
      t.ok(Math.abs(loss - alone.losses[i]) <= 1e-5, `step ${i + 1} has loss ${loss}, not ${alone.losses[i]}`)
    })
  const expected = trainedWeights(join(folder, 'one'))
  const weights = trainedWeights(join(folder, 'two'))
  for (const [name, values] of expected) {
    const off = Math.max(...values.map((v, i) => Math.abs(v - weights.get(name)![i])))
    t.ok(off <= 1e-5, `${name} is off by ${off}`)
  }
})

t.test('the plan counts one number of a hidden matrix where AdamW keeps two', async (t) => {
  const plans = (['adamw', 'muon'] as const).map((kind) => {
    const run = transformerRunSchema.parse(transformer('plan', 4, { kind })) as TransformerRunConfig
    const { config } = modelOfRun(run)
    return { plan: planTransformerRun(run, config, 0), counts: transformerCounts(config) }
  })
  const [adamw, own] = plans.map(({ plan }) => plan)
  const stored = (name: string): number =>
    scope(() => {
      const { tensors } = readSafetensors(listCheckpoints(join(folder, name))[0].file)
      return [...tensors].reduce((sum, [key, { count }]) => sum + (key.startsWith('optimizer.') ? 4 * count : 0), 0)
    })
  t.equal(new Map(own.parts).get('momentum and AdamW moments'), stored('base'), 'what a checkpoint holds')
  t.equal(adamw.peak - own.peak, 4 * plans[0].counts.matrices)
})

t.test('what Muon cannot do is refused in one line', async (t) => {
  const keys = { batchSize: 4, steps: 2, learningRate: 1e-3 }
  const complaint = (changes: object): string =>
    optimizerSchema.safeParse({ ...keys, ...changes }).error!.issues[0].message
  t.match(complaint({ kind: 'muon', shard: true }), /whole matrices.*set shard to false/)
  t.match(complaint({ momentum: 0.9 }), /momentum \(0\.9\) is for kind "muon"/)
  t.match(complaint({ kind: 'sgd' }), /adamw/)
  const lora = tinyLoraRun(join(folder, 'lora'), pack, join(folder, 'base', 'model'), 2)
  for (const config of [muon(tinyTokenizerRun(join(folder, 'refused'), pack, 2)), muon(lora)])
    await t.rejects(Trainer.open(config), {
      code: 'ERR_CONFIG',
      message: /"optimizer\.kind" is "muon".*set it to "adamw"/,
    })
  const adamw = tinyTransformerRun(join(folder, 'base'), pack, tokenizer, 40)
  await t.rejects(Trainer.open(adamw), { code: 'ERR_SHAPE', message: /exp_avg.*is missing.*optimizer\.kind/ })
  const started = transformer(
    'started',
    2,
    { kind: 'adamw' },
    {
      start: { weights: listCheckpoints(join(folder, 'base'))[0].file, optimizer: 'keep' },
    },
  )
  await t.rejects(Trainer.open(started), { code: 'ERR_SHAPE', message: /optimizer\.kind/ })
  const context = { device: 'cpu', onProgress: () => {}, signal: undefined }
  await t.rejects(writeReferenceLayout(join(folder, 'base'), join(folder, 'out.pth'), context), {
    code: 'ERR_FILE',
    message: /state of muon.*star ckpt export/,
  })
})
