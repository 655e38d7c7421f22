/** What a training is given does not depend on the number of processes: samples, draws, and the care of the codebook. */
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writePack } from '../../../lib/data/index.js'
import { planBuckets } from '../../../lib/distributed/buckets.js'
import type { DropPath, TokenSubset } from '../../../lib/models/star/index.js'
import { backward, full, scope, type Tensor } from '../../../lib/tensor/index.js'
import type { TokenSamples } from '../../../lib/train/data/token-data.js'
import type { Task } from '../../../lib/train/kinds/task.js'
import { digests } from '../../support/compare.js'
import { type GroupResult, metricsOf, openRun, placeOf, runGroup } from '../../support/task-runner.js'
import { numberedEntry, numberedTar } from '../../support/tiny-images.js'
import { runSteps, tinyLoraRun, tinySamplerRun, tinyTokenizerRun, tinyTransformerRun } from '../../support/tiny-run.js'

type Config = Record<string, unknown> & { optimizer: Record<string, unknown>; data: Record<string, unknown> }

/** A micro-batch of any task. */
interface Part {
  samples?: TokenSamples
  dropPath?: DropPath
  subset?: TokenSubset | null
  known?: Float32Array
}

const folder = t.testdir()
const packs = [join(folder, 'numbered')]
const tokenizer = join(folder, 'tokenizer', 'model')
const base = join(folder, 'base', 'model')
const batchSize = 8
const epoch = 10

/** A configuration with a batch that two, four and eight processes can share, on pictures with several captions. */
function changed(config: Record<string, unknown>, optimizer: object = {}): Config {
  const { data, ...rest } = config as Config
  return {
    ...rest,
    data: { ...data, packs, flip: 0.5 },
    optimizer: { ...rest.optimizer, batchSize, ...optimizer },
  }
}

const transformer = (optimizer: object = {}): Config => ({
  ...changed(tinyTransformerRun(join(folder, 'transformer'), '', tokenizer, 12), optimizer),
  model: { depth: 3, width: 64, heads: 2, dropPath: 0.5 },
  tokenDrop: { fromScale: 2, keep: 30 },
  progressive: { share: 0.75, firstScale: 2, warmupSteps: 3 },
})
const sampler = (): Config => changed(tinySamplerRun(join(folder, 'sampler'), '', base, 12))
const lora = (changes: object = {}): Config => ({
  ...changed(tinyLoraRun(join(folder, 'lora'), '', base, 12)),
  ...changes,
})
/** With more rows than the pictures use. */
function tokenizerRun(optimizer: object = {}): Config {
  const config = changed(tinyTokenizerRun(join(folder, 'tokenizer-run'), '', 12), { learningRate: 0.02, ...optimizer })
  return { ...config, model: { ...(config.model as object), vocabSize: 256 } }
}

t.before(async () => {
  const side = 16
  await writePack(
    packs[0],
    Array.from({ length: epoch }, (_, n) =>
      numberedEntry(n, {
        width: side,
        height: side,
        prompt: `picture ${n}`,
        caption_long: `the picture with the number ${n}, described at length`,
        caption_other: `another text on picture ${n}, just as long`,
      }),
    ),
  )
  await runSteps(changed(tinyTokenizerRun(join(folder, 'tokenizer'), '', 12)))
  await runSteps(changed(tinyTransformerRun(join(folder, 'base'), '', tokenizer, 4)))
})

/** What was given for the samples of a step, one after the other, and for all of them. */
function joined(parts: readonly Part[], ids: readonly string[]): object {
  const subsets = parts.map(({ subset }) => subset && [...subset.positions])
  for (const subset of subsets) t.same(subset, subsets[0], 'the same tokens of all samples')
  const blocks = parts[0].dropPath?.map((block, i) =>
    block ? [0, 1].map((branch) => parts.flatMap(({ dropPath }) => [...dropPath![i]![branch]])) : null,
  )
  return {
    ids,
    captions: parts.flatMap(({ samples }) => samples!.captions),
    tokens: parts.flatMap(({ samples }) => [...samples!.tokens]),
    known: parts.flatMap(({ known }) => (known ? [...known] : [])),
    subset: subsets[0],
    blocks,
  }
}

/** Steps [begin, end) as so many processes are given them, and the state of each behind them. */
async function given(
  config: Config,
  ranks: number,
  [begin, end]: [number, number],
  { accumulate = 1, from }: { accumulate?: number; from?: unknown } = {},
): Promise<{ steps: object[]; states: unknown[] }> {
  // Token maps and text states are made anew, in other company.
  rmSync(join(folder, '.star-cache'), { recursive: true, force: true })
  const tasks: Task[] = []
  for (let rank = 0; rank < ranks; rank++) {
    const { task, sampleCount } = await openRun(config, placeOf(rank, ranks))
    t.equal(sampleCount, epoch)
    tasks.push(task)
  }
  if (from !== undefined) for (const task of tasks) task.restore(from)
  const steps: object[] = []
  for (let step = begin; step < end; step++) {
    const parts: Part[] = []
    const ids: string[] = []
    for (const task of tasks) {
      const batch = await task.next(batchSize)
      ids.push(...batch.ids)
      parts.push(...(task.split(batch, accumulate, step) as Part[]))
    }
    steps.push(joined(parts, ids))
  }
  const states = tasks.map((task) => task.state())
  for (const task of tasks) task.dispose()
  return { steps, states }
}

for (const [kind, config] of [
  ['transformer', transformer],
  ['sampler', sampler],
  ['lora', lora],
] as const) {
  t.test(`a ${kind} is given the same by any number of processes`, async (t) => {
    const whole = await given(config(), 1, [0, 6])
    t.equal(new Set(whole.steps.map((step) => JSON.stringify(step))).size, 6)
    for (const [ranks, accumulate] of [
      [1, 4],
      [2, 2],
      [4, 1],
    ]) {
      const shared = await given(config(), ranks, [0, 6], { accumulate })
      t.strictSame(shared.steps, whole.steps, `${ranks} processes, ${accumulate} micro-batches`)
      for (const state of shared.states) t.strictSame(state, whole.states[0], 'and all end at the same place')
    }
    const half = await given(config(), 2, [0, 3])
    const rest = await given(config(), 4, [3, 6], { from: JSON.parse(JSON.stringify(half.states[1])) })
    t.strictSame([...half.steps, ...rest.steps], whole.steps, 'four processes go on from the state of two')
    t.strictSame(rest.states[3], whole.states[0])
  })
}

/** Mean loss and gradients over the processes, of the first step. */
async function gradients(config: Config, ranks: number): Promise<{ loss: number; grads: Map<string, Float64Array> }> {
  const grads = new Map<string, Float64Array>()
  let loss = 0
  for (let rank = 0; rank < ranks; rank++) {
    const { task } = await openRun(config, placeOf(rank, ranks))
    const seeded = (x: Tensor): void => backward(x, full(x.shape, 1 / ranks))
    const [part] = task.split(await task.next(batchSize), 1, 0)
    loss += scope(() => metricsOf(task.forwardBackward(part, 0, seeded)).loss) / ranks
    for (const { name, tensor } of task.model.namedTensors()) {
      if (!tensor.grad) continue
      const sum = grads.get(name) ?? new Float64Array(tensor.count)
      tensor.grad.floats().forEach((g, i) => {
        sum[i] += g
      })
      grads.set(name, sum)
    }
    task.dispose()
  }
  return { loss, grads }
}

const largest = (values: Float64Array | Float32Array): number =>
  (values as Float64Array).reduce((most, v) => Math.max(most, Math.abs(v)), 0)

t.test('the mean gradient of the processes is that of one', async (t) => {
  for (const config of [transformer(), sampler(), lora()]) {
    const whole = await gradients(config, 1)
    const shared = await gradients(config, 2)
    t.ok(Math.abs(shared.loss / whole.loss - 1) < 1e-5, `loss ${shared.loss} and ${whole.loss}`)
    t.strictSame([...shared.grads.keys()], [...whole.grads.keys()])
    const floor = 1e-6 * Math.max(...[...whole.grads.values()].map(largest))
    for (const [name, expected] of whole.grads) {
      const error = largest(shared.grads.get(name)!.map((v, i) => v - expected[i]))
      t.ok(error <= Math.max(1e-5 * largest(expected), floor), `${name}: off by ${error} of ${largest(expected)}`)
    }
  }
})

t.test('backward fills the buckets in the order in which they are exchanged', async (t) => {
  for (const config of [transformer(), sampler(), lora(), tokenizerRun()]) {
    const { task } = await openRun(config)
    const ready: Tensor[] = []
    const [part] = task.split(await task.next(batchSize), 1, 0)
    scope(() => task.forwardBackward(part, 0, (loss) => backward(loss, undefined, (leaf) => ready.push(leaf))))
    const parameters = task.model.parametersByUse()
    t.strictSame(new Set(parameters), new Set(task.model.parameters()), 'all parameters, once')
    const contents = parameters.map(({ count, dtype }) => ({ count, dtype, stored: dtype }))
    const bytes = 4 * contents.reduce((sum, { count }) => sum + count, 0)
    const buckets = planBuckets(contents, { bytes: bytes / 8, firstBytes: bytes / 16, multiple: 1 })
    // The calls of backward after which each bucket is full.
    const full = buckets.map(({ places }) => Math.max(...places.map(({ index }) => ready.indexOf(parameters[index]))))
    t.ok(buckets.length > 4, `${buckets.length} buckets`)
    t.strictSame(
      full,
      [...full].sort((a, b) => a - b),
      `${config.kind}: ${full.join(', ')} of ${ready.length}`,
    )
    task.dispose()
  }
})

t.test('a tokenizer and its codebook are trained alike by any number of processes', async (t) => {
  const steps = 6
  const [whole] = await runGroup({ config: tokenizerRun(), ranks: 1, steps }, t)
  const [unrevived] = await runGroup({ config: { ...tokenizerRun(), reviveEvery: 0 }, ranks: 1, steps }, t)
  const codebook = 'quantize.embedding.weight'
  const hits = 'quantize.ema_vocab_hit_SV'
  t.notSame(whole.weights[codebook], unrevived.weights[codebook], 'rows are revived')
  for (const [ranks, accumulate] of [
    [1, 2],
    [2, 2],
    [4, 1],
  ]) {
    const results = await runGroup({ config: tokenizerRun({ accumulate }), ranks, steps }, t)
    const name = `${ranks} processes, ${accumulate} micro-batches`
    t.strictSame(
      whole.ids.map((_, i) => results.flatMap(({ ids }) => ids[i])),
      whole.ids,
      name,
    )
    for (const { weights, state } of results) {
      t.strictSame(digests(weights), digests(results[0].weights), `${name}: the same on all, bit for bit`)
      t.strictSame(state, whole.state)
      t.strictSame(weights[hits], whole.weights[hits], 'the same uses of each row')
    }
    for (const [tensor, expected] of Object.entries(whole.weights)) {
      const error = largest(results[0].weights[tensor].map((v, i) => v - expected[i]))
      t.ok(error <= 1e-5 * Math.max(1, largest(expected)), `${name}: ${tensor} is off by ${error}`)
    }
  }
})

t.test('a tokenizer and its discriminator are trained alike by any number of processes', async (t) => {
  const steps = 5
  const loss = { adversarial: { channels: 8, layers: 2, warmupSteps: 2, weight: 1 } }
  // Rows that were placed on vectors of nearly equal pictures lie so close that rounding decides between them.
  const config = (accumulate = 1): object => ({ ...tokenizerRun({ accumulate }), reviveEvery: 0 })
  const run = (ranks: number, accumulate: number): Promise<GroupResult[]> =>
    runGroup({ config: { ...config(accumulate), loss }, ranks, steps }, t)
  const [whole] = await run(1, 1)
  const [alone] = await runGroup({ config: config(), ranks: 1, steps }, t)
  const decoder = 'decoder.conv_out.weight'
  const apart = (weights: GroupResult['weights']): number =>
    largest(weights[decoder].map((v, i) => v - whole.weights[decoder][i]))
  const effect = apart(alone.weights)
  t.ok(effect > 1e-3, `the discriminator changes the decoder by ${effect}`)
  for (const [ranks, accumulate] of [
    [1, 2],
    [2, 1],
  ]) {
    const results = await run(ranks, accumulate)
    for (const { weights, state } of results) {
      t.strictSame(digests(weights), digests(results[0].weights), 'the same on all, bit for bit')
      t.strictSame(state, results[0].state)
    }
    const error = apart(results[0].weights)
    t.ok(error < 1e-3 * effect, `${ranks} processes, ${accumulate} micro-batches: off by ${error}`)
  }
})

t.test('a LoRA and pictures of its base are trained alike by any number of processes', async (t) => {
  const prior = { prompts: ['picture 3', 'picture 4'], pictures: 6, weight: 2 }
  const run = (name: string, ranks: number): Promise<GroupResult[]> =>
    runGroup({ config: lora({ prior, runFolder: join(folder, name) }), ranks, steps: 5 }, t)
  const [whole] = await run('lora-one', 1)
  t.ok(whole.metrics.every(({ Lprior }) => Lprior > 0))
  const results = await run('lora-two', 2)
  for (const { weights, state } of results) {
    t.strictSame(digests(weights), digests(results[0].weights), 'the same on all, bit for bit')
    t.strictSame(state, whole.state)
  }
  for (const [name, expected] of Object.entries(whole.weights)) {
    const error = largest(results[0].weights[name].map((v, i) => v - expected[i]))
    t.ok(error <= 1e-5 * Math.max(1, largest(expected)), `${name} is off by ${error}`)
  }
  const mean = (step: number): number => (results[0].metrics[step].Lprior + results[1].metrics[step].Lprior) / 2
  for (const [step, { Lprior }] of whole.metrics.entries())
    t.ok(Math.abs(mean(step) / Lprior - 1) < 1e-4, `step ${step}: ${mean(step)} and ${Lprior}`)
})

t.test('places in tars are kept of each process', async (t) => {
  const tars = join(folder, 'tars')
  for (let i = 0; i < 4; i++) await numberedTar(join(tars, `${i}.tar`), 6, 6 * i, 16)
  const config = (name: string): Config => ({
    ...tokenizerRun(),
    runFolder: join(folder, name),
    data: { tars: [tars], resolution: 16 },
  })
  const whole = await runGroup({ config: config('tars-whole'), ranks: 2, steps: 5 }, t)
  const part = await runGroup({ config: config('tars-part'), ranks: 2, steps: 2 }, t)
  t.strictSame(part[0].state, part[1].state, 'one state holds the places of all')
  const from = JSON.parse(JSON.stringify(part[1].state))
  const rest = await runGroup({ config: config('tars-part'), ranks: 2, steps: 3, from }, t)
  for (const rank of [0, 1]) t.strictSame([...part[rank].ids, ...rest[rank].ids], whole[rank].ids)
  const dataOf = ({ state }: GroupResult): unknown => (state as { data: unknown }).data
  t.strictSame(dataOf(rest[0]), dataOf(whole[0]))
  // Four processes have one tar each, and begin the second epoch.
  cpSync(join(folder, 'tars-part'), join(folder, 'tars-four'), { recursive: true })
  const four = await runGroup({ config: config('tars-four'), ranks: 4, steps: 3, from }, t)
  t.equal(new Set(four.flatMap(({ ids }) => ids.flat())).size, 24, 'an epoch of all samples')
  t.match(readFileSync(join(folder, 'tars-four', 'log.txt'), 'utf8'), /of 2 processes.* 4 now: .* of epoch 2\n/)
})

t.test('what cannot be shared is refused', async (t) => {
  for (const config of [transformer({ accumulate: 2 }), tokenizerRun({ accumulate: 2 })])
    await t.rejects(openRun(config, placeOf(0, 8)), {
      code: 'ERR_CONFIG',
      message: /"optimizer.batchSize" is 8, .* 8 processes with 2 micro-batches each need a multiple of 16/,
    })
  await t.rejects(openRun(sampler(), placeOf(1, 3)), { code: 'ERR_CONFIG', message: /3 processes/ })
})
