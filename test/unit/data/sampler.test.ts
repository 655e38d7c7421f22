import t from 'tap'
import { EpochSampler } from '../../../lib/data/sampler.js'
import { shareOf } from '../../../lib/data/share.js'

t.test('an epoch holds every sample once', async (t) => {
  for (const length of [1, 2, 10, 13]) {
    const all = [...new EpochSampler({ length }).indices(3)]
    t.same(
      all.sort((a, b) => a - b),
      Array.from({ length }, (_, i) => i),
    )
  }
})

t.test('processes take equal parts of a batch in their order', async (t) => {
  for (const [total, ranks] of [
    [12, 1],
    [12, 3],
    [4, 4],
  ]) {
    const shares = Array.from({ length: ranks }, (_, rank) => shareOf(total, { rank, ranks }))
    t.ok(shares.every((share) => share.total === total && share.end - share.begin === total / ranks))
    t.same(
      shares.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin + i)),
      Array.from({ length: total }, (_, i) => i),
    )
  }
  t.same(shareOf(5, {}), { total: 5, begin: 0, end: 5 })
  t.throws(() => shareOf(10, { rank: 1, ranks: 4 }), { code: 'ERR_CONFIG', message: /4 processes cannot share 10/ })
  t.throws(() => shareOf(4, { rank: 2, ranks: 2 }), { code: 'ERR_ARGUMENT', message: /rank 2 of 2/ })
})

t.test('the order depends on seed and epoch only', async (t) => {
  const order = (epoch: number, seed = 0) => [...new EpochSampler({ length: 100, seed }).indices(epoch)]
  t.same(order(2), order(2))
  t.not(order(2).join(), order(3).join())
  t.same(order(2, 1), order(3), 'the seed is added to the epoch')
  t.same([...new EpochSampler({ length: 4, shuffle: false }).indices(7)], [0, 1, 2, 3])
})

t.test('batches continue over epochs, and a saved position is resumed exactly', async (t) => {
  const sampler = new EpochSampler({ length: 4 })
  const first = [sampler.next(3), sampler.next(3)].flat()
  t.same(first, [...sampler.indices(0), ...sampler.indices(1)].slice(0, 6))
  t.same(sampler.state(), { epoch: 1, position: 2 })
  const again = new EpochSampler({ length: 4 })
  again.restore(JSON.parse(JSON.stringify(sampler.state())))
  t.equal(again.epoch, 1)
  t.same(again.next(50), sampler.next(50))
})

t.test('what cannot be is refused', async (t) => {
  t.throws(() => new EpochSampler({ length: 0 }), { code: 'ERR_ARGUMENT', message: /0 samples/ })
  const sampler = new EpochSampler({ length: 3 })
  t.throws(() => sampler.restore({ epoch: 0, position: 4 }), { code: 'ERR_ARGUMENT', message: /no place/ })
})
