/** Training in 16 bits with a scaled loss, in micro-batches, and with blocks computed again. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { native } from '../../../lib/native/index.js'
import { backward, full, scope, type Tensor } from '../../../lib/tensor/index.js'
import { checksums } from '../../../lib/train/checkpoint/checksums.js'
import { Trainer, type TrainStep } from '../../../lib/train/index.js'
import { readSafetensors } from '../../../lib/weights/index.js'
import { metricsOf, openRun } from '../../support/task-runner.js'
import {
  runSteps,
  tinySamplerRun,
  tinyTokenizerRun,
  tinyTransformerRun,
  writeTinyPack,
} from '../../support/tiny-run.js'

type Config = Record<string, unknown> & { optimizer: Record<string, unknown> }

const folder = t.testdir()
const pack = await writeTinyPack(folder)
const tokenizer = join(folder, 'tokenizer', 'model')
const base = join(folder, 'base', 'model')

const changed = (config: Record<string, unknown>, keys: Partial<Config>): Config =>
  ({ ...config, ...keys, optimizer: { ...(config as Config).optimizer, ...keys.optimizer } }) as Config

const transformer = (name: string, steps: number, keys: Partial<Config> = {}): Config =>
  changed(tinyTransformerRun(join(folder, name), pack, tokenizer, steps), {
    // Every draw matters.
    model: { depth: 3, width: 64, heads: 2, dropPath: 0.3 },
    ...keys,
  })

t.before(async () => {
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 12))
  await runSteps(tinyTransformerRun(join(folder, 'base'), pack, tokenizer, 4))
})

const checkpoint = (name: string, step: number): string => join(folder, name, 'checkpoints', `step-${step}.safetensors`)

/** All tensors of a checkpoint as bytes, without its metadata. */
function tensorBytes(name: string, step: number): Buffer {
  const bytes = readFileSync(checkpoint(name, step))
  return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))
}

/** Loss and gradients by name of the first batch in `count` micro-batches. */
async function firstGradients(
  config: Config,
  count: number,
): Promise<{ loss: number; grads: Map<string, Float32Array> }> {
  const { task } = await openRun(config)
  const batch = await task.next(4)
  let loss = 0
  const seeded = (x: Tensor): void => backward(x, full(x.shape, 1 / count))
  for (const part of task.split(batch, count, 0))
    loss += scope(() => metricsOf(task.forwardBackward(part, 0, seeded)).loss) / count
  const grads = new Map(
    [...task.model.namedTensors()].flatMap(({ name, tensor }) => (tensor.grad ? [[name, tensor.grad.floats()]] : [])),
  )
  task.dispose()
  return { loss, grads }
}

const largest = (values: Float32Array): number => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0)

t.test('four micro-batches give the gradients of one batch four times as large', async (t) => {
  for (const [kind, config] of [
    ['transformer', transformer('parts-transformer', 2)],
    ['sampler', tinySamplerRun(join(folder, 'parts-sampler'), pack, base, 2)],
    ['tokenizer', tinyTokenizerRun(join(folder, 'parts-tokenizer'), pack, 2)],
  ] as [string, Config][]) {
    const whole = await firstGradients(config, 1)
    const parts = await firstGradients(config, 4)
    t.ok(Math.abs(parts.loss / whole.loss - 1) < 1e-5, `${kind}: loss ${parts.loss} and ${whole.loss}`)
    t.strictSame([...parts.grads.keys()], [...whole.grads.keys()])
    t.ok(whole.grads.size > 10)
    // Some are nothing but rounding errors: a bias in front of a group normalisation of single channels has no effect.
    const floor = 1e-6 * Math.max(...[...whole.grads.values()].map(largest))
    for (const [name, expected] of whole.grads) {
      const error = largest(parts.grads.get(name)!.map((v, i) => v - expected[i]))
      t.ok(error <= Math.max(1e-5 * largest(expected), floor), `${name}: off by ${error} of ${largest(expected)}`)
    }
  }
})

t.test('steps in micro-batches are those of whole batches', async (t) => {
  const whole = await runSteps(transformer('whole', 6))
  const parts = await runSteps(transformer('parts', 6, { optimizer: { accumulate: 4 } }))
  for (const [i, step] of parts.entries()) {
    t.ok(Math.abs(step.loss / whole[i].loss - 1) < 1e-5, `loss ${step.loss} and ${whole[i].loss}`)
    t.ok(Math.abs(step.gradNorm / whole[i].gradNorm - 1) < 1e-4, `norm ${step.gradNorm} and ${whole[i].gradNorm}`)
    t.strictSame(step.ids, whole[i].ids)
  }
  await t.rejects(runSteps(transformer('three', 6, { optimizer: { accumulate: 3 } })), {
    code: 'ERR_CONFIG',
    message: /batchSize \(4\) is not a multiple of accumulate \(3\)/,
  })
})

t.test('blocks computed again take the same steps, bit for bit', async (t) => {
  const kept = await runSteps(transformer('kept', 5))
  const again = await runSteps(transformer('again', 5, { recompute: true }))
  t.strictSame(
    again.map(({ loss }) => loss),
    kept.map(({ loss }) => loss),
  )
  t.ok(tensorBytes('again', 5).equals(tensorBytes('kept', 5)))
})

const mean = (steps: readonly TrainStep[]): number => steps.reduce((sum, { loss }) => sum + loss, 0) / steps.length

t.test('f16 and bf16 reach the loss of f32', async (t) => {
  const single = mean((await runSteps(transformer('f32', 30))).slice(-10))
  for (const precision of ['f16', 'bf16']) {
    const steps = await runSteps(transformer(precision, 30, { precision }))
    t.ok(Math.abs(mean(steps.slice(-10)) / single - 1) < 0.02, `${precision}: ${mean(steps.slice(-10))}, f32 ${single}`)
    t.ok(mean(steps.slice(-10)) < 0.97 * steps[0].loss)
    t.strictSame(
      steps.map(({ metrics }) => [metrics.lossScale, metrics.skippedSteps]),
      steps.map(() => (precision === 'f16' ? [2 ** 11, 0] : [undefined, undefined])),
    )
    const tensors = scope(() =>
      [...readSafetensors(checkpoint(precision, 30)).tensors].map(([name, { dtype }]) => [name, dtype]),
    )
    t.strictSame(
      tensors.filter(([, dtype]) => dtype !== 'f32'),
      [],
      'masters, moments and averages are f32',
    )
  }
})

t.test('a tokenizer and a sampler head train in 16 bits', async (t) => {
  for (const precision of ['f16', 'bf16']) {
    const name = `tokenizer-${precision}`
    const steps = await runSteps(changed(tinyTokenizerRun(join(folder, name), pack, 10), { precision }))
    t.ok(steps[9].loss < steps[0].loss, `${precision}: ${steps[0].loss} → ${steps[9].loss}`)
    const sampler = `sampler-${precision}`
    const before = readFileSync(join(base, 'transformer.safetensors'))
    const heads = await runSteps(changed(tinySamplerRun(join(folder, sampler), pack, base, 15), { precision }))
    t.ok(heads[14].metrics.Lopen < heads[0].metrics.Lopen)
    t.ok(readFileSync(join(folder, sampler, 'model', 'transformer.safetensors')).equals(before), 'the base as it was')
  }
})

for (const precision of ['f16', 'bf16']) {
  t.test(`an aborted ${precision} run in micro-batches goes on where it was`, async (t) => {
    const config = transformer(`${precision}-parts`, 8, { precision, optimizer: { accumulate: 2 } })
    const first = await runSteps(config, 3)
    const rest = await runSteps(config)
    const again = await runSteps({ ...config, runFolder: join(folder, `${precision}-whole`) })
    t.strictSame(
      [...first, ...rest].map(({ loss }) => loss),
      again.map(({ loss }) => loss),
    )
    t.ok(tensorBytes(`${precision}-parts`, 8).equals(tensorBytes(`${precision}-whole`, 8)))
  })
}

t.test('a run goes on in another precision', async (t) => {
  const config = transformer('another', 8)
  const first = await runSteps({ ...config, precision: 'f16' }, 3)
  const rest = await runSteps({ ...config, precision: 'bf16' })
  t.equal(rest[0].step, 4)
  const single = await runSteps({ ...config, runFolder: join(folder, 'another-f32') })
  for (const [i, { loss }] of [...first, ...rest].entries())
    t.ok(Math.abs(loss / single[i].loss - 1) < 0.02, `${loss} and ${single[i].loss}`)
})

/** Sets the loss scale in a checkpoint. */
function setScale(file: string, scale: number): void {
  const bytes = readFileSync(file)
  const end = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, end).toString())
  const state = JSON.parse(header.__metadata__.state)
  t.equal(state.lossScale.scale, 2 ** 11)
  state.lossScale.scale = scale
  const metadata = header.__metadata__
  metadata.state = JSON.stringify(state)
  metadata.checksums = JSON.stringify({ ...JSON.parse(metadata.checksums), ...JSON.parse(checksums([], metadata)) })
  const json = Buffer.from(JSON.stringify(header))
  const padded = Buffer.concat([json, Buffer.alloc(-json.length & 7, ' ')])
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))
  writeFileSync(file, Buffer.concat([length, padded, bytes.subarray(end)]))
}

t.test('steps that overflow are left out, the scale is halved, and training goes on', async (t) => {
  const config = transformer('overflow', 30, { precision: 'f16', work: { logEvery: 1, saveEvery: 1, keep: 40 } })
  const first = await runSteps(config, 3)
  setScale(checkpoint('overflow', 3), 2 ** 40)
  const rest = await runSteps(config)
  const taken = rest.map(({ gradNorm }) => Number.isFinite(gradNorm))
  const left = taken.indexOf(true)
  t.ok(left > 5, `${left} steps were left out at first`)
  t.ok(taken.filter((yes) => yes).length >= 5, 'then steps are taken')
  let skipped = 0
  for (const [i, { metrics }] of rest.entries()) {
    if (!taken[i]) skipped++
    t.strictSame([metrics.lossScale, metrics.skippedSteps], [2 ** (40 - skipped), skipped])
  }
  t.ok(tensorBytes('overflow', 3 + left).equals(tensorBytes('overflow', 3)), 'weights, moments, averages as before')
  t.notOk(tensorBytes('overflow', 4 + left).equals(tensorBytes('overflow', 3)))
  t.ok(mean(rest.slice(-3)) < mean(first), `${mean(first)} → ${mean(rest.slice(-3))}`)
  t.ok(rest.every(({ loss }) => Number.isFinite(loss)))
})

t.test('steps in 16 bits leak no memory', async (t) => {
  const before = native.memory('cpu').liveBytes
  const live: number[] = []
  {
    const config = transformer('leak', 6, { precision: 'f16', recompute: true, optimizer: { accumulate: 2 } })
    using trainer = await Trainer.open(config)
    for await (const step of trainer) if (step.step < 6) live.push(native.memory('cpu').liveBytes)
  }
  t.equal(new Set(live).size, 1, `live bytes after each step: ${live.join(', ')}`)
  t.equal(native.memory('cpu').liveBytes, before)
})
