/** Trainings of several processes whose tensors lie on a device with collectives of its own: the simt build and its NCCL. */
import { join } from 'node:path'
import t from 'tap'
import { type Trained, trainedWeights } from '../../support/rank-training.js'
import { runRanks } from '../../support/ranks.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

const programs = new URL('../../support/rank-training.js', import.meta.url)
const folder = t.testdir()
const pack = await writeTinyPack(folder)
const steps = 3

await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 4))

function configOf(name: string, optimizer: object = {}) {
  const base = tinyTransformerRun(join(folder, name), pack, join(folder, 'tokenizer', 'model'), steps)
  return {
    ...base,
    precision: 'f32', // on a device the default is bf16, in which another order of sums is seen
    optimizer: { ...(base.optimizer as object), batchSize: 4, ...optimizer },
    work: { ...(base.work as object), picturesEvery: 0 },
  }
}

const env = () => ({ STAR_TEST_DEVICE: 'simt' })
const trainOn = (size: number, config: object): Promise<Trained[]> =>
  runRanks<Trained>(t, programs, 'train', { size, env, input: { config }, seconds: 240 })

t.test('two processes take the steps of one, with whole and with sharded optimizers', async (t) => {
  const [alone] = await trainOn(1, configOf('alone'))
  const expected = trainedWeights(join(folder, 'alone'))
  for (const [name, optimizer] of [
    ['two', {}],
    ['two, sharded', { shard: true }],
  ] as const) {
    const ranks = await trainOn(2, configOf(name, optimizer))
    t.strictSame(
      ranks[0].ids.map((_, s) => ranks.flatMap(({ ids }) => ids[s])),
      alone.ids,
      `${name}: the same samples`,
    )
    for (const { losses } of ranks) {
      t.equal(losses.length, steps)
      losses.forEach((loss, i) => {
        t.ok(
          Math.abs(loss - alone.losses[i]) <= 1e-5,
          `${name}: step ${i + 1} has loss ${loss}, not ${alone.losses[i]}`,
        )
      })
    }
    const weights = trainedWeights(join(folder, name))
    t.strictSame([...weights.keys()].sort(), [...expected.keys()].sort())
    for (const [tensor, values] of weights) {
      const off = Math.max(...values.map((v, i) => Math.abs(v - expected.get(tensor)![i])))
      t.ok(off <= 1e-6, `${name}: ${tensor} is off by ${off}`)
    }
  }
})
