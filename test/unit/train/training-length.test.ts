import t from 'tap'
import { parseConfig } from '../../../lib/config/parse-config.js'
import { optimizerSchema } from '../../../lib/train/config/optimizer.js'
import { resolveOptimizer, resolveWork } from '../../../lib/train/config/resolve.js'
import { workSchema } from '../../../lib/train/config/work.js'

const given = (keys: object) =>
  parseConfig(optimizerSchema, { batchSize: 4, learningRate: 1, ...keys }, 'the configuration')
const lengths = (keys: object, images: number): [number, number] => {
  const optimizer = given(keys)
  const resolved = resolveOptimizer(optimizer, images / optimizer.batchSize)
  t.strictSame(parseConfig(optimizerSchema, resolved, 'the resolved configuration'), resolved, 'the schema accepts it')
  return [resolved.steps, resolved.warmupSteps]
}

t.test('epochs become steps', async (t) => {
  t.same(lengths({ steps: 7 }, 100), [7, 0])
  t.same(lengths({ steps: 7, warmupSteps: 3 }, 100), [7, 3])
  t.same(lengths({ epochs: 2, warmupEpochs: 0.5 }, 100), [50, 13])
  t.same(lengths({ epochs: 1 }, 101), [26, 0], 'the last batch is filled from the next epoch')
  t.same(lengths({ epochs: 0.1 }, 120), [3, 0], 'no step more for a rounding error')
  t.same(lengths({ epochs: 0.001 }, 3), [1, 0])
  t.same(lengths({ steps: 70, warmupEpochs: 1 }, 10), [70, 3])
})

t.test('each length is given in one unit', async (t) => {
  t.throws(() => given({}), {
    code: 'ERR_CONFIG',
    message: /^the configuration: the length of the training is missing: give steps or epochs\./,
  })
  t.throws(() => given({ steps: 1, epochs: 1 }), { message: /steps \(1\) and epochs \(1\) are both given/ })
  t.throws(() => given({ steps: 1, warmupSteps: 0, warmupEpochs: 1 }), {
    message: /warmupSteps \(0\) and warmupEpochs \(1\) are both given: keep one of them/,
  })
  t.throws(() => given({ epochs: 0 }), { message: /"epochs" is 0, expected number to be >0/ })
})

t.test('intervals in epochs become steps', async (t) => {
  const work = (keys: object) => parseConfig(workSchema, keys, 'the configuration')
  const intervals = (keys: object, perEpoch: number | null = 50.5) => {
    const resolved = resolveWork(work(keys), perEpoch)
    t.strictSame(work(resolved), resolved, 'the schema accepts it')
    return [resolved.logEvery, resolved.validateEvery]
  }
  t.same(intervals({}), [10, 50.5], 'validation after each epoch')
  t.same(intervals({}, null), [10, undefined], 'as soon as an epoch ends')
  t.same(intervals({ validateEvery: 0 }), [10, 0], 'at the end only')
  t.same(intervals({ logEvery: 3, validateEvery: 7 }, null), [3, 7])
  t.same(intervals({ logsPerEpoch: 10, validateEpochs: 2 }), [5, 101])
  t.same(intervals({ logsPerEpoch: 1000, validateEpochs: 0.5 }), [1, 25.25])
  t.throws(() => intervals({ validateEpochs: 1 }, null), { code: 'ERR_CONFIG', message: /"work\.validateEpochs"/ })
  t.throws(() => work({ logEvery: 1, logsPerEpoch: 1 }), { message: /logEvery \(1\) and logsPerEpoch \(1\)/ })
  t.throws(() => work({ validateEvery: 0, validateEpochs: 1 }), { message: /validateEvery \(0\) and validateEpochs/ })
})
