import t from 'tap'
import { EpochSampler } from '../../../lib/data/sampler.js'

t.test('the ranks share every epoch, padded by repetition', async (t) => {
  for (const [length, ranks] of [
    [10, 1],
    [10, 3],
    [12, 4],
    [2, 5],
    [1, 1],
  ]) {
    const shares = Array.from({ length: ranks }, (_, rank) => new EpochSampler({ length, rank, ranks }).indices(3))
    t.ok(shares.every((share) => share.length === Math.ceil(length / ranks)))
    const all = shares.flatMap((share) => [...share])
    t.same(new Set(all), new Set(Array.from({ length }, (_, i) => i)), `${length} samples on ${ranks} ranks`)
    t.same(
      all.slice(length),
      Array.from({ length: all.length - length }, (_, i) => all[i % length]),
    )
  }
})

t.test('the order depends on seed and epoch only', async (t) => {
  const order = (epoch: number, seed = 0) => [...new EpochSampler({ length: 100, seed }).indices(epoch)]
  t.same(order(2), order(2))
  t.not(order(2).join(), order(3).join())
  t.same(order(2, 1), order(3), 'the seed is added to the epoch')
  t.same([...new EpochSampler({ length: 4, shuffle: false }).indices(7)], [0, 1, 2, 3])
})

t.test('batches run on over epochs, and a saved place is gone on from exactly', async (t) => {
  const sampler = new EpochSampler({ length: 10, rank: 1, ranks: 3 })
  const first = [sampler.next(3), sampler.next(3)].flat()
  t.same(first, [...sampler.indices(0), ...sampler.indices(1)].slice(0, 6))
  t.same(sampler.state(), { epoch: 1, position: 2 })
  const again = new EpochSampler({ length: 10, rank: 1, ranks: 3 })
  again.restore(JSON.parse(JSON.stringify(sampler.state())))
  t.equal(again.epoch, 1)
  t.same(again.next(50), sampler.next(50))
})

t.test('what cannot be is refused', async (t) => {
  t.throws(() => new EpochSampler({ length: 0 }), { code: 'ERR_ARGUMENT', message: /0 samples/ })
  t.throws(() => new EpochSampler({ length: 3, rank: 2, ranks: 2 }), { code: 'ERR_ARGUMENT', message: /rank 2 of 2/ })
  const sampler = new EpochSampler({ length: 3 })
  t.throws(() => sampler.restore({ epoch: 0, position: 4 }), { code: 'ERR_ARGUMENT', message: /no place/ })
})
