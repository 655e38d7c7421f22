/** The same training on 1, 2 and 4 processes: losses, weights, samples, sharded optimizers, resumption on other numbers. */
import { join } from 'node:path'
import t from 'tap'
import { type Trained, trainedWeights } from '../support/rank-training.js'
import { endsOf, runRanks, startRanks } from '../support/ranks.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'

const programs = new URL('../support/rank-training.js', import.meta.url)
const folder = t.testdir()
const pack = await writeTinyPack(folder)
const steps = 50

await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 20))
const tokenizer = join(folder, 'tokenizer', 'model')

interface Changes {
  kind?: 'transformer' | 'tokenizer'
  optimizer?: object
  work?: object
  precision?: string
  steps?: number
}

function configOf(name: string, { kind = 'transformer', steps: count = steps, ...changes }: Changes = {}) {
  const runFolder = join(folder, name)
  const base =
    kind === 'tokenizer'
      ? tinyTokenizerRun(runFolder, pack, count)
      : tinyTransformerRun(runFolder, pack, tokenizer, count)
  return {
    ...base,
    ...changes,
    runFolder,
    optimizer: { ...(base.optimizer as object), batchSize: 8, ...changes.optimizer },
    work: { ...(base.work as object), picturesEvery: 0, ...changes.work },
  }
}

const trainOn = (size: number, config: object, more: object = {}): Promise<Trained[]> =>
  runRanks<Trained>(t, programs, 'train', { size, input: { config, ...more }, seconds: 300 })

/** Largest difference between two lists of numbers. */
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let most = 0
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]))
  return most
}

function weightDifference(a: string, b: string): number {
  const [x, y] = [trainedWeights(join(folder, a)), trainedWeights(join(folder, b))]
  if ([...x.keys()].sort().join() !== [...y.keys()].sort().join()) return Number.POSITIVE_INFINITY
  return Math.max(...Array.from(x, ([name, values]) => difference(values, y.get(name)!)))
}

/** The samples of each step over all ranks, in the order of the batch. */
const samplesOf = (ranks: readonly Trained[]): string[][] =>
  ranks[0].ids.map((_, s) => ranks.flatMap(({ ids }) => ids[s]))

const [alone] = await trainOn(1, configOf('alone'))

for (const [name, size, changes] of [
  ['2 processes', 2, {}],
  ['4 processes', 4, {}],
  ['2 processes, optimizer sharded', 2, { optimizer: { shard: true } }],
  ['4 processes, optimizer sharded', 4, { optimizer: { shard: true } }],
  ['2 processes, 2 micro-batches each', 2, { optimizer: { accumulate: 2 } }],
  ['2 processes, 2 micro-batches each, optimizer sharded', 2, { optimizer: { accumulate: 2, shard: true } }],
] as const)
  t.test(`${name} train as one does`, async (t) => {
    const ranks = await trainOn(size, configOf(name, changes))
    for (const { losses } of ranks) t.equal(losses.length, steps)
    t.strictSame(samplesOf(ranks), alone.ids, 'the samples of every step')
    for (const { losses, gradNorms } of ranks) {
      const most = difference(losses, alone.losses)
      t.ok(most <= 1e-5, `losses differ by ${most}`)
      t.ok(difference(gradNorms, ranks[0].gradNorms) === 0, 'all ranks clip alike')
    }
    const most = weightDifference(name, 'alone')
    t.ok(most <= 1e-6, `weights differ by ${most}`)
  })

t.test('a training resumes with another number of processes', async (t) => {
  for (const [shard, numbers] of [
    [false, [2, 1, 4]],
    [true, [2, 4, 1, 2]],
  ] as const) {
    const name = `on ${numbers.join(', ')}${shard ? ', sharded' : ''}`
    const config = configOf(name, { optimizer: { shard }, work: { saveEvery: 4 } })
    const parts: Trained[][] = []
    for (const [i, size] of numbers.entries()) {
      const last = i === numbers.length - 1
      // A signal that one rank alone has got ends all of them, with a checkpoint.
      parts.push(await trainOn(size, config, last ? {} : { stop: { rank: size - 1, after: 7 } }))
    }
    t.strictSame(parts.flatMap(samplesOf), alone.ids, `${name}: every sample of every step, once`)
    t.ok(
      difference(
        parts.flatMap(([{ losses }]) => losses),
        alone.losses,
      ) <= 1e-5,
      `${name}: losses`,
    )
    const most = weightDifference(name, 'alone')
    t.ok(most <= 1e-6, `${name}: weights differ by ${most}`)
  }
})

t.test('in 16 bits, with masters in pieces and averages', async (t) => {
  for (const precision of ['bf16', 'f16']) {
    const changes = { precision, steps: 20 }
    const [whole] = await trainOn(2, configOf(`${precision} whole`, changes))
    const [sharded] = await trainOn(2, configOf(`${precision} sharded`, { ...changes, optimizer: { shard: true } }))
    t.ok(difference(whole.losses, sharded.losses) <= 1e-5, `${precision}: losses`)
    t.ok(weightDifference(`${precision} whole`, `${precision} sharded`) <= 1e-6, `${precision}: averaged weights`)
  }
})

t.test('a tokenizer trains on two processes as on one', async (t) => {
  // A rounding error that moves a vector to another entry of the codebook is no small one any more, so the way is short.
  const changes = { kind: 'tokenizer', steps: 10 } as const
  const [one] = await trainOn(1, configOf('one tokenizer', changes))
  const two = await trainOn(2, configOf('tokenizer of two', { ...changes, optimizer: { shard: true } }))
  t.strictSame(samplesOf(two), one.ids)
  // Not the weights: one whose gradient is zero but for rounding (a bias in front of a normalisation) takes steps as long as
  // the others in any direction, and changes nothing.
  t.ok(difference(two[0].losses, one.losses) <= 1e-5)
})

t.test('processes with different configurations do not begin', async (t) => {
  const config = configOf('never')
  const ranks = await startRanks<Trained>(t, programs, 'train', {
    size: 2,
    input: { config },
    env: (rank): Record<string, string> => (rank === 1 ? { STAR_TEST_SEED: '4' } : {}),
  })
  for (const { error } of await endsOf(ranks, 60))
    t.match(error, { code: 'ERR_CONFIG', message: /different configurations/ })
})
