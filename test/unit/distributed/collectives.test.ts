/**
 * Process groups of 1 to 4 real processes: every collective, type and odd size against plain sums; over Gloo, and through the
 * backend's collectives (NCCL), whose stand-in of the simt build meets in shared memory.
 */
import t from 'tap'
import type { Case, CaseResult } from '../../support/rank-collectives.js'
import { runRanks } from '../../support/ranks.js'

const programs = new URL('../../support/rank-collectives.js', import.meta.url)

const sizes = [0, 1, 7, 1023]
const summed = ['f32', 'f16', 'bf16', 'i32'] as const
const floats = ['f32', 'f16', 'bf16'] as const

const devices = [
  { device: 'cpu', engine: 'gloo', large: 1_000_003 },
  // Some pieces of what the stand-in exchanges at once.
  { device: 'simt', engine: 'nccl', large: 200_003 },
]
/** Long enough for a sanitizer on a machine that is busy with other things. */
const seconds = 240
const on = (device: string) => () => ({ STAR_TEST_DEVICE: device })

/** The same on all ranks; large tensors for one kind of each, so that it stays quick. */
const cases = (size: number, large: number): Case[] => [
  ...summed.flatMap((dtype) =>
    [...sizes, large].flatMap((count): Case[] => [
      { collective: 'allReduce', dtype, count, values: 'whole' },
      {
        collective: 'reduceScatter',
        dtype,
        count: count === large ? Math.floor(large / size) : count,
        values: 'whole',
      },
    ]),
  ),
  ...floats.flatMap((dtype): Case[] => [
    { collective: 'allReduce', dtype, count: 10_007, values: 'fraction' },
    { collective: 'reduceScatter', dtype, count: 10_007, values: 'fraction' },
    { collective: 'reduceScatter', dtype, count: 10_007, values: 'fraction', inPlace: true },
    { collective: 'allReduce', dtype, count: 77, op: 'max', values: 'fraction' },
    { collective: 'allReduce', dtype, count: 77, op: 'min', values: 'fraction' },
  ]),
  { collective: 'allReduce', dtype: 'i32', count: 77, op: 'max', values: 'whole' },
  { collective: 'allReduce', dtype: 'i32', count: 77, op: 'min', values: 'whole' },
  ...([...summed, 'u8'] as const).flatMap((dtype) =>
    sizes.flatMap((count): Case[] => [
      { collective: 'broadcast', dtype, count, values: 'whole', root: count % size },
      { collective: 'allGather', dtype, count, values: 'whole' },
      { collective: 'allGather', dtype, count, values: 'whole', inPlace: true },
    ]),
  ),
  { collective: 'broadcast', dtype: 'f32', count: large, values: 'fraction', root: size - 1 },
  { collective: 'allGather', dtype: 'f32', count: Math.floor(large / size), values: 'fraction' },
]

for (const { device, engine, large } of devices) {
  for (const size of [1, 2, 3, 4])
    t.test(`${device}: collectives of ${size} processes`, async (t) => {
      const input = cases(size, large)
      const ranks = await runRanks<{ results: CaseResult[]; engine: string; leaked: number }>(
        t,
        programs,
        'collectives',
        {
          size,
          input,
          env: on(device),
          seconds,
        },
      )
      for (const { engine: used, leaked } of ranks) {
        t.equal(used, size === 1 ? 'single' : engine)
        t.equal(leaked, 0, 'no bytes are left')
      }
      input.forEach((one, i) => {
        const name = JSON.stringify(one)
        for (const { results } of ranks) t.ok(results[i].error <= 1, `${name}: error ${results[i].error}`)
        // Every rank has its own part of a reduceScatter.
        if (one.collective !== 'reduceScatter')
          t.equal(new Set(ranks.map(({ results }) => results[i].digest)).size, 1, `${name}: the same bits on all ranks`)
      })
    })

  t.test(`${device}: many works run in the order in which they were given`, async (t) => {
    const size = 3
    const ranks = await runRanks<{ values: number[]; doneAfterBarrier: boolean }>(t, programs, 'manyWorks', {
      size,
      env: on(device),
    })
    for (const { values, doneAfterBarrier } of ranks) {
      t.ok(doneAfterBarrier)
      t.same(
        values,
        values.map((_, k) => (k % 3 === 2 ? (k % size) + k : 0 + 1 + 2 + 3 * k)),
      )
    }
  })

  t.test(`${device}: a work keeps its tensors`, async (t) => {
    t.same(await runRanks(t, programs, 'disposedTensors', { size: 2, env: on(device) }), [3, 3])
  })

  t.test(`${device}: a rank that ends in order disturbs nobody`, async (t) => {
    t.same(await runRanks(t, programs, 'unevenEnd', { size: 3, env: on(device) }), [3, 3, 3])
  })
}

t.test('the store passes messages beside the collectives', async (t) => {
  t.same(await runRanks(t, programs, 'storeTalk', { size: 3 }), [
    { heard: 'hello from 1: ü', last: 6 },
    { heard: 'hello from 2: ü', last: 6 },
    { heard: 'hello from 0: ü', last: 6 },
  ])
})
