/** What goes wrong with a group of processes ends in ERR_COMM that names the rank, within the set time, and leaves no process. */
import { connect } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { endsOf, freePort, type RankEnd, startRanks } from '../../support/ranks.js'

t.jobs = 2

const programs = new URL('../../support/rank-collectives.js', import.meta.url)

type Assert = Pick<typeof t, 'match' | 'ok' | 'equal'>

/** One line, in time, that matches. */
function failed(t: Assert, end: RankEnd<unknown>, words: RegExp, seconds: number): void {
  t.match(end, { error: { code: 'ERR_COMM', message: words }, code: 0 }, `rank ${end.rank}: ${end.error?.message}`)
  t.ok(!end.error?.message.includes('\n'), 'one line')
  t.ok(end.seconds < seconds, `${end.seconds} s, of ${seconds}`)
}

// The CPU's group, and the one that leaves the collectives to its device.
for (const device of ['cpu', 'simt']) {
  const env = () => ({ STAR_TEST_DEVICE: device })
  for (const victim of [1, 0])
    t.test(`${device}: rank ${victim} is killed: the others know at once`, async (t) => {
      const input = { timeoutSeconds: 60, victim }
      const ranks = await startRanks(t, programs, 'exchangeUntilFault', { size: 3, env, input })
      await Promise.all(ranks.map((rank) => rank.told()))
      const killed = performance.now()
      ranks[victim].kill('SIGKILL')
      const ends = await endsOf(ranks, 30)
      t.ok(performance.now() - killed < 5000, 'the time-out was not waited for')
      t.match(ends[victim], { signal: 'SIGKILL' })
      for (const end of ends) if (end.rank !== victim) failed(t, end, new RegExp(`rank ${victim}\\b`), 30)
    })

  for (const victim of [1, 0])
    t.test(`${device}: rank ${victim} stops without a word: the others know when the time is over`, async (t) => {
      const input = { timeoutSeconds: 3, victim }
      const ranks = await startRanks(t, programs, 'exchangeUntilFault', { size: 3, env, input })
      await Promise.all(ranks.map((rank) => rank.told()))
      ranks[victim].kill('SIGSTOP')
      const others = ranks.filter(({ rank }) => rank !== victim)
      for (const end of await endsOf(others, 20)) failed(t, end, new RegExp(`rank ${victim}\\b`), 10)
      ranks[victim].kill('SIGKILL')
      await ranks[victim].ended
    })

  t.test(`${device}: a rank ends with an error of its own: the others name it`, async (t) => {
    const ranks = await startRanks(t, programs, 'closedByFailure', {
      size: 3,
      env,
      input: { timeoutSeconds: 60, victim: 2 },
    })
    const ends = await endsOf(ranks, 30)
    t.match(ends[2].error, { code: null, message: 'out of ideas' })
    for (const end of ends.slice(0, 2)) failed(t, end, /rank 2\b/, 15)
  })

  t.test(`${device}: after an error all works fail with the same words`, async (t) => {
    const ranks = await startRanks<string[]>(t, programs, 'afterFault', {
      size: 2,
      env,
      input: { timeoutSeconds: 60, victim: 1 },
    })
    await Promise.all(ranks.map((rank) => rank.told()))
    ranks[1].kill('SIGKILL')
    const [{ value: words }] = await endsOf(ranks, 30)
    t.equal(words?.length, 6)
    t.equal(new Set(words).size, 1)
    t.match(words?.[0], /rank 1\b/)
  })

  t.test(`${device}: a rank that never comes is named`, async (t) => {
    const ranks = await startRanks(t, programs, 'meet', { size: 3, ranks: [0, 2], env, input: { timeoutSeconds: 2 } })
    for (const end of await endsOf(ranks, 20)) failed(t, end, /rank 1\b/, 8)
  })
}

t.test('processes on different devices are refused', async (t) => {
  const env = (rank: number) => ({ STAR_TEST_DEVICE: rank === 0 ? 'simt' : 'cpu' })
  const ranks = await startRanks(t, programs, 'meet', { size: 2, env, input: { timeoutSeconds: 20 } })
  for (const end of await endsOf(ranks, 30))
    failed(t, end, /rank 1 exchanges by gloo, but rank 0 by nccl: .*--device/, 10)
})

t.test('a rank 0 that never comes is named with its address', async (t) => {
  const ranks = await startRanks(t, programs, 'meet', { size: 2, ranks: [1], input: { timeoutSeconds: 2 } })
  for (const end of await endsOf(ranks, 20)) failed(t, end, /rank 0 .*127\.0\.0\.1.*MASTER_ADDR/, 8)
})

t.test('an address that is none is named', async (t) => {
  const env = () => ({ MASTER_ADDR: 'no-such-host.invalid' })
  const ranks = await startRanks(t, programs, 'meet', { size: 2, ranks: [1], env, input: { timeoutSeconds: 2 } })
  for (const end of await endsOf(ranks, 20)) failed(t, end, /no-such-host\.invalid/, 15)
})

t.test('the second of two processes of one rank is refused and told of the first; the first continues', async (t) => {
  const ranks = await startRanks(t, programs, 'meet', {
    size: 3,
    ranks: [0, 1, 1, 2],
    // The last one comes when the two have met.
    delay: (_, place) => (place === 3 ? 2500 : place === 2 ? 1000 : 0),
    input: { timeoutSeconds: 20 },
  })
  const [zero, first, second, two] = await endsOf(ranks, 30)
  failed(t, second, new RegExp(`rank 1 .*${ranks[1].pid}.*${hostname()}`), 15)
  for (const end of [zero, first, two]) t.match(end, { value: 6, code: 0 }, `rank ${end.rank}: ${end.error?.message}`)
})

t.test('another number of processes is refused', async (t) => {
  const ranks = await startRanks(t, programs, 'meet', {
    size: 2,
    env: (rank): Record<string, string> => (rank === 1 ? { WORLD_SIZE: '3', LOCAL_WORLD_SIZE: '3' } : {}),
    input: { timeoutSeconds: 3 },
  })
  const [zero, one] = await endsOf(ranks, 20)
  failed(t, one, /rank 1 .*\b3\b.*\b2\b.*WORLD_SIZE/, 8)
  failed(t, zero, /rank 1\b/, 8)
})

t.test('ranks may start at different times', async (t) => {
  for (const late of [0, 1]) {
    const ranks = await startRanks(t, programs, 'meet', {
      size: 2,
      delay: (rank) => (rank === late ? 1500 : 0),
      input: { timeoutSeconds: 20 },
    })
    for (const end of await endsOf(ranks, 30))
      t.match(end, { value: 3, code: 0 }, `${late} late: ${end.error?.message}`)
  }
})

/** Sends something to the port as soon as somebody listens there; resolves when the other end has closed the connection. */
async function intrude(port: number, text: string): Promise<void> {
  for (;;) {
    const closed = await new Promise<boolean>((resolve) => {
      let connected = false
      const socket = connect(port, '127.0.0.1', () => {
        connected = true
        socket.write(text)
      })
      socket.on('error', () => {}).on('close', () => resolve(connected))
    })
    if (closed) return
    await delay(50)
  }
}

t.test('strangers at the port are turned away', async (t) => {
  const port = await freePort()
  const wait = (rank: number) => (rank === 1 ? 1500 : 0)
  const starting = startRanks(t, programs, 'meet', { size: 2, port, delay: wait, input: { timeoutSeconds: 20 } })
  await Promise.all(
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', '\xff\xff\xff\xff', '\0\0\0\0', '\b\0\0\0xxxxxxxx'].map((text) =>
      intrude(port, text),
    ),
  )
  for (const end of await endsOf(await starting, 30)) t.match(end, { value: 3, code: 0 })
})
