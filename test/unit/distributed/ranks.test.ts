/** What the tests of several processes stand on: ranks are real processes, and none outlives its test. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { endsOf, runRanks, startRanks } from '../../support/ranks.js'

const programs = new URL('../../support/rank-programs.js', import.meta.url)

const alive = (pid: number): boolean => {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1][0] !== 'Z'
  } catch {
    return false
  }
}

t.test('each rank is a process that finds its place', async (t) => {
  const places = await runRanks<{ pid: number }>(t, programs, 'place', { size: 3, input: 'for all' })
  t.match(
    places,
    [0, 1, 2].map((rank) => ({
      rank,
      size: 3,
      localRank: rank,
      masterAddr: '127.0.0.1',
      input: 'for all',
      bytes: Uint8Array.of(rank),
    })),
  )
  t.equal(new Set(places.map(({ pid }) => pid)).size, 3)
})

t.test('an error comes with its code, and fails a run', async (t) => {
  const ends = await endsOf(await startRanks(t, programs, 'refuse', { size: 2 }), 20)
  t.match(ends, [
    { rank: 0, code: 0 },
    { rank: 1, code: 0, error: { code: 'ERR_COMM', message: 'rank 1 has had enough' } },
  ])
  await t.rejects(runRanks(t, programs, 'refuse', { size: 2 }), /^rank 1: .*has had enough/s)
})

t.test('a rank that does not end is killed and named', async (t) => {
  const ranks = await startRanks(t, programs, 'stay', { size: 2 })
  const pids = (await Promise.all(ranks.map((rank) => rank.told()))).map((told) => (told as { pid: number }).pid)
  ranks[0].kill('SIGSTOP')
  t.ok(pids.every(alive))
  await t.rejects(endsOf(ranks, 0.2), /still running after 0.2 s: rank 0, 1/)
  t.notOk(pids.some(alive))
  t.match(await ranks[0].ended, { signal: 'SIGKILL', code: null })
})
