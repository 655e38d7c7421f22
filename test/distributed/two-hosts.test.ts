/** Faults between two hosts: each ends in an error that names the rank, or in a restart that reaches the same weights. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { trainedWeights } from '../support/rank-training.js'
import { endsOf, type Rank, type RankEnd, startRanks } from '../support/ranks.js'
import { starFile } from '../support/star-command.js'
import { runSteps, tinyTokenizerRun, writeTinyPack } from '../support/tiny-run.js'
import { cutMissing, TwoHosts, twoHostsMissing } from '../support/two-hosts.js'

const launchFile = fileURLToPath(new URL('../support/launch-node.js', import.meta.url))
const programs = new URL('../support/rank-collectives.js', import.meta.url)
const skip = twoHostsMissing() || cutMissing()

/** Ranks 0 and 1 on a host each. */
const startOn = (
  owner: typeof t,
  hosts: TwoHosts,
  more: Partial<Parameters<typeof startRanks>[3]> = {},
): Promise<Rank<void>[]> =>
  startRanks<void>(owner, programs, 'exchangeUntilFault', {
    size: 2,
    input: { timeoutSeconds: 5, victim: -1 },
    wrapper: (rank) => hosts.on(rank === 0 ? 0 : 1),
    ...more,
    env: (rank, place) => ({ MASTER_ADDR: hosts.addresses[0], ...more.env?.(rank, place) }),
  })

/** In one line, in time. */
function failed(owner: typeof t, { rank, error, seconds }: RankEnd<void>, words: RegExp, most: number): void {
  owner.match(error, { code: 'ERR_COMM', message: words }, `rank ${rank}: ${error?.message}`)
  owner.ok(seconds < most, `${seconds} s, of ${most}`)
}

/** A test with two hosts, on which no process is left. */
const withHosts = (name: string, body: (owner: typeof t, hosts: TwoHosts) => Promise<void>): void => {
  t.test(name, { skip }, async (owner) => {
    const hosts = new TwoHosts()
    owner.teardown(() => hosts.remove())
    await body(owner as typeof t, hosts)
    owner.strictSame(hosts.processes, [], 'no process is left')
  })
}

withHosts('the link is cut: packets vanish', async (t, hosts) => {
  const ranks = await startOn(t, hosts)
  await Promise.all(ranks.map((rank) => rank.told()))
  const cut = performance.now()
  hosts.cut()
  const [first, second] = await endsOf(ranks, 40)
  t.ok(performance.now() - cut < 20_000)
  failed(t, first, /rank 1 .*not heard of/, 40)
  failed(t, second, /rank 0 .*10\.77\.0\.1|rank 0 .*not heard of/, 40)
})

for (const signal of ['SIGKILL', 'SIGSTOP'] as const)
  withHosts(`rank 1 gets ${signal}`, async (t, hosts) => {
    const ranks = await startOn(t, hosts)
    await Promise.all(ranks.map((rank) => rank.told()))
    ranks[1].kill(signal)
    const [first] = await endsOf(ranks.slice(0, 1), 30)
    failed(t, first, /rank 1 /, 30)
    ranks[1].kill('SIGKILL')
    await ranks[1].ended
  })

withHosts('a wrong address is told', async (t, hosts) => {
  const ranks = await startOn(t, hosts, {
    env: (rank) => (rank === 1 ? { MASTER_ADDR: '10.77.0.9' } : {}) as Record<string, string>,
  })
  const [first, second] = await endsOf(ranks, 40)
  failed(t, first, /rank 1 of 2 did not come/, 20)
  failed(t, second, /rank 0 was not reached at 10\.77\.0\.9/, 20)
})

withHosts('ranks start 20 s apart', async (t, hosts) => {
  const ranks = await startOn(t, hosts, {
    input: { timeoutSeconds: 60, victim: -1 },
    delay: (rank) => (rank === 1 ? 20_000 : 0),
  })
  await Promise.all(ranks.map((rank) => rank.told()))
  for (const rank of ranks) rank.kill('SIGKILL')
  await endsOf(ranks, 10)
})

withHosts('one rank is started twice', async (t, hosts) => {
  const ranks = await startOn(t, hosts, { ranks: [0, 1, 1], delay: (_, place) => 1000 * place })
  await Promise.all([ranks[0], ranks[1]].map((rank) => rank.told()))
  const [second] = await endsOf(ranks.slice(2), 20)
  failed(t, second, /rank 1 is there already: process \d+ on /, 20)
  for (const rank of ranks.slice(0, 2)) rank.kill('SIGKILL')
  await endsOf(ranks.slice(0, 2), 10)
})

interface Machine {
  output: string
  ended: Promise<number | null>
}

/** `star launch` on both hosts, with less patience than usual. */
function launchOn(hosts: TwoHosts, command: readonly string[], port: number): Machine[] {
  return ([0, 1] as const).map((host) => {
    const asked = {
      flags: {
        nnodes: '2',
        nodeRank: String(host),
        masterAddr: hosts.addresses[0],
        masterPort: String(port),
        maxRestarts: '3',
        monitorInterval: '1',
      },
      patience: { silence: 5, join: 10, lastCall: 1 },
      command: [starFile, ...command],
    }
    const [program, ...args] = [...hosts.on(host), process.execPath, launchFile, JSON.stringify(asked)]
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, OMP_NUM_THREADS: '1', STAR_COMM_TIMEOUT: '5' },
    })
    const machine: Machine = {
      output: '',
      ended: new Promise((resolve) => child.on('close', resolve)),
    }
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        machine.output += text
      })
    return machine
  })
}

/** A training on both hosts that something happens to after some steps. */
async function trainingOn(
  t: typeof import('tap').t,
  hosts: TwoHosts,
  happen: (metrics: string) => Promise<void>,
): Promise<{ machines: Machine[]; codes: (number | null)[]; alone: string; run: string }> {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  const config = (name: string) => ({
    ...tinyTokenizerRun(join(folder, name), pack, 12),
    work: { logEvery: 1, saveEvery: 2, picturesEvery: 0 },
  })
  await runSteps({ ...config('one') }, 1)
  const write = (name: string): string[] => {
    const file = join(folder, `${name}.json`)
    writeFileSync(file, JSON.stringify(config(name)))
    return ['train-tokenizer', file, '--device', 'cpu']
  }
  for (const machine of launchOn(hosts, write('alone'), 29510)) t.equal(await machine.ended, 0, machine.output)
  const machines = launchOn(hosts, write('run'), 29530)
  const metrics = join(folder, 'run', 'metrics.jsonl')
  const until = Date.now() + 60_000
  while (!existsSync(metrics) || readFileSync(metrics, 'utf8').split('\n').length < 5) {
    if (Date.now() > until) throw new Error(`no steps: ${machines.map(({ output }) => output).join('\n')}`)
    await delay(20)
  }
  await happen(metrics)
  const codes = await Promise.all(machines.map(({ ended }) => ended))
  return { machines, codes, alone: join(folder, 'alone'), run: join(folder, 'run') }
}

withHosts(
  'star launch on two hosts: a worker is killed, all start again and reach the same weights',
  async (t, hosts) => {
    const { machines, codes, alone, run } = await trainingOn(t, hosts, async () => {
      const workers = hosts.processes.filter((pid) => readFileSync(`/proc/${pid}/environ`, 'utf8').includes('RANK=1\0'))
      process.kill(workers[0], 'SIGKILL')
    })
    t.strictSame(codes, [0, 0], machines.map(({ output }) => output.slice(-2000)).join('\n'))
    t.match(machines.map(({ output }) => output).join(), /SIGKILL/)
    const [a, b] = [trainedWeights(alone), trainedWeights(run)]
    for (const [name, values] of a) t.ok(Buffer.from(values.buffer).equals(Buffer.from(b.get(name)!.buffer)), name)
  },
)

withHosts('star launch on two hosts: the link is cut for good, and both end with a named error', async (t, hosts) => {
  const begun = performance.now()
  const { machines, codes } = await trainingOn(t, hosts, async () => hosts.cut())
  t.ok(performance.now() - begun < 120_000)
  t.ok(
    codes.every((code) => code !== 0),
    'both fail',
  )
  for (const { output } of machines) t.match(output, /error: .*machine/)
})
