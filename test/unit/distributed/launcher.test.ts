/** Launches with real processes: small programs as workers, several "machines" on this one. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { LaunchFlags } from '../../../lib/distributed/launcher/index.js'

const nodeFile = fileURLToPath(new URL('../../support/launch-node.js', import.meta.url))
const patience = { silence: 3, join: 20, lastCall: 0.5 }

interface Machine {
  signal(name: NodeJS.Signals): void
  /** Output so far. */
  text(): string
  ended: Promise<{ code: number | null; text: string }>
}

/** Starts a machine whose workers run the program `command` names. */
function machine(flags: LaunchFlags, command: string[], over: Partial<typeof patience> = {}): Machine {
  const argument = JSON.stringify({ flags, command, patience: { ...patience, ...over } })
  const child = spawn(process.execPath, [nodeFile, argument], { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (more: string) => {
      text += more
    })
  const ended = new Promise<{ code: number | null; text: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, text })),
  )
  t.teardown(() => child.kill('SIGKILL'))
  return { signal: (name) => child.kill(name), text: () => text, ended }
}

async function until(what: string, true_: () => boolean, seconds = 20): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !true_(); await delay(20))
    if (Date.now() > end) throw new Error(`not seen within ${seconds} s: ${what}`)
}

const alive = (pid: number): boolean => {
  try {
    // A process that has ended and waits to be collected is no longer alive.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1][0] !== 'Z'
  } catch {
    return false
  }
}

async function port(): Promise<string> {
  const server = createServer().listen(0)
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return String(port)
}

const program = (t: Pick<typeof import('tap').t, 'testdir'>, text: string): string =>
  join(
    t.testdir({ 'worker.mjs': `import { appendFileSync, existsSync, writeFileSync } from 'node:fs'\n${text}` }),
    'worker.mjs',
  )

const say = `console.log(['RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'GROUP_RANK', 'MASTER_ADDR', 'OMP_NUM_THREADS']
  .map((name) => name + '=' + process.env[name]).join(' '))`

t.test('workers find their places in the environment', async (t) => {
  const { code, text } = await machine({ nprocPerNode: '2' }, [program(t, say)]).ended
  t.equal(code, 0, text)
  const common = 'WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 GROUP_RANK=0 MASTER_ADDR=127.0.0.1 OMP_NUM_THREADS=1'
  for (const rank of [0, 1]) t.match(text, `RANK=${rank} LOCAL_RANK=${rank} ${common}`)
})

t.test('machines that start apart make one group', async (t) => {
  const file = program(t, say)
  const flags = { nnodes: '2', masterAddr: '127.0.0.1', masterPort: await port() }
  const second = machine({ ...flags, nodeRank: '1', nprocPerNode: '2' }, [file])
  await delay(1500)
  const first = machine({ ...flags, nodeRank: '0' }, [file])
  const [a, b] = await Promise.all([first.ended, second.ended])
  t.equal(a.code, 0, a.text)
  t.equal(b.code, 0, b.text)
  t.match(a.text, 'RANK=0 LOCAL_RANK=0 WORLD_SIZE=3 LOCAL_WORLD_SIZE=1 GROUP_RANK=0')
  t.match(b.text, 'RANK=1 LOCAL_RANK=0 WORLD_SIZE=3 LOCAL_WORLD_SIZE=2 GROUP_RANK=1')
  t.match(b.text, 'RANK=2 LOCAL_RANK=1 WORLD_SIZE=3 LOCAL_WORLD_SIZE=2 GROUP_RANK=1')
})

t.test('the first failure is the cause, with its message and log; the others are ended', async (t) => {
  const file = program(
    t,
    `if (process.env.RANK === '1') { console.error('the reason'); process.exitCode = 3 }
     else { writeFileSync(process.argv[2], String(process.pid)); setInterval(() => {}, 1000) }`,
  )
  const pidFile = join(t.testdirName, 'pid')
  const logDir = join(t.testdirName, 'logs')
  const { code, text } = await machine({ nprocPerNode: '2', logDir, redirects: '2' }, [file, pidFile]).ended
  t.equal(code, 2)
  const log = join(logDir, 'attempt-0', 'rank-1.err.log')
  t.match(
    text.trim().split('\n').at(-1),
    new RegExp(`^error: rank 1 on .* failed \\(exit code 3\\): the reason; its log: ${log}$`),
  )
  t.equal(readFileSync(log, 'utf8'), 'the reason\n')
  if (existsSync(pidFile)) t.notOk(alive(Number(readFileSync(pidFile, 'utf8'))), 'the other worker has ended')
})

t.test('tee writes the file and the console with the rank in front', async (t) => {
  const logDir = join(t.testdir({}), 'logs')
  const file = program(t, `console.log('hello from', process.env.RANK)`)
  const { code, text } = await machine({ nprocPerNode: '2', logDir, tee: '3' }, [file]).ended
  t.equal(code, 0, text)
  for (const rank of [0, 1]) {
    t.match(text, `[rank${rank}]: hello from ${rank}\n`)
    t.equal(readFileSync(join(logDir, 'attempt-0', `rank-${rank}.out.log`), 'utf8'), `hello from ${rank}\n`)
  }
})

t.test('after a failure all workers start again, as often as allowed', async (t) => {
  const file = program(
    t,
    `appendFileSync(process.argv[2], process.env.RANK)
     const again = existsSync(process.argv[2] + '.failed')
     if (process.env.RANK === '0' && !again) { writeFileSync(process.argv[2] + '.failed', ''); process.kill(process.pid, 'SIGKILL') }
     else if (!again) setInterval(() => {}, 1000)`,
  )
  const seen = join(t.testdirName, 'seen')
  const { code, text } = await machine({ nprocPerNode: '2', maxRestarts: '1' }, [file, seen]).ended
  t.equal(code, 0, text)
  t.match(text, /rank 0 on .* failed \(signal SIGKILL\)/)
  t.match(text, 'starting all workers again, 1 of 1 times')
  t.ok(readFileSync(seen, 'utf8').length >= 3, 'both ran in the second attempt')

  const bad = program(t, 'process.exitCode = 7')
  const given = await machine({ maxRestarts: '2' }, [bad]).ended
  t.equal(given.code, 2)
  t.equal(given.text.match(/failed \(exit code 7\)/g)?.length, 4, 'three attempts and the report')
})

t.test('a signal reaches the workers, who end in order', async (t) => {
  const file = program(
    t,
    `for (const name of ['SIGTERM', 'SIGUSR1']) process.on(name, () => { console.log('got', name); if (name === 'SIGTERM') process.exit(0) })
     console.log('ready'); setInterval(() => {}, 1000)`,
  )
  const one = machine({ nprocPerNode: '2' }, [file])
  await until('both ready', () => (one.text().match(/ready/g)?.length ?? 0) === 2)
  one.signal('SIGUSR1')
  await until('both told', () => (one.text().match(/got SIGUSR1/g)?.length ?? 0) === 2)
  one.signal('SIGTERM')
  const { code, text } = await one.ended
  t.equal(code, 0, text)
  t.equal(text.match(/got SIGTERM/g)?.length, 2)
})

t.test('a lost machine is waited for, and its group continues when it is back', async (t) => {
  const file = program(
    t,
    `console.log('world', process.env.WORLD_SIZE, 'pid', process.pid)
     if (existsSync(process.argv[2])) process.exit(0)
     setInterval(() => {}, 1000); process.on('disconnect', () => process.exit(1))`,
  )
  const done = join(t.testdirName, 'done')
  const flags = { nnodes: '2', masterAddr: '127.0.0.1', masterPort: await port(), maxRestarts: '1' }
  const first = machine({ ...flags, nodeRank: '0' }, [file, done])
  const second = machine({ ...flags, nodeRank: '1' }, [file, done])
  await until('both run', () => /world 2/.test(first.text()) && /world 2/.test(second.text()))
  second.signal('SIGKILL')
  const orphan = Number(/pid (\d+)/.exec(second.text())![1])
  await until('its worker has ended', () => !alive(orphan))
  await until('the loss is noticed', () => /the machine .* failed \(lost/.test(first.text()))
  writeFileSync(done, '')
  const back = machine({ ...flags, nodeRank: '1' }, [file, done])
  const [a, b] = await Promise.all([first.ended, back.ended])
  t.equal(a.code, 0, a.text)
  t.equal(b.code, 0, b.text)
})

t.test('a machine that falls silent is lost, and with MIN:MAX the others continue without it', async (t) => {
  const file = program(
    t,
    `console.log('world', process.env.WORLD_SIZE)
     if (process.env.WORLD_SIZE === '2') setInterval(() => {}, 1000)
     process.on('disconnect', () => process.exit(1)); process.channel.unref()`,
  )
  const flags = { nnodes: '1:2', masterAddr: '127.0.0.1', masterPort: await port(), maxRestarts: '1' }
  const first = machine(flags, [file], { lastCall: 5 })
  await delay(500)
  const second = machine(flags, [file], { lastCall: 5 })
  await until('both run', () => /world 2/.test(first.text()) && /world 2/.test(second.text()))
  second.signal('SIGSTOP')
  const { code, text } = await first.ended
  t.equal(code, 0, text)
  t.match(text, /no sign of life for 3 s/)
  t.match(text, 'world 1')
})

t.test('what cannot become a group ends with a reason', async (t) => {
  const file = program(t, 'setInterval(() => {}, 1000)')
  const masterPort = await port()
  const flags = { nnodes: '2', masterAddr: '127.0.0.1', masterPort }
  const alone = machine({ ...flags, nodeRank: '0' }, [file], { join: 3 })
  const twice = machine({ ...flags, nodeRank: '0' }, [file], { join: 3 })
  const ends = await Promise.all([alone.ended, twice.ended])
  const texts = ends.map(({ text }) => text).join('')
  t.match(texts, /only 1 of 2 machines joined within 3 s/)
  t.match(texts, new RegExp(`port ${masterPort} of 127.0.0.1 cannot be opened`))

  const nobody = await machine({ ...flags, nodeRank: '1' }, [file], { join: 1 }).ended
  t.match(nobody.text, /was not reached within 1 s .*check --master-addr/)

  const same = { ...flags, nnodes: '3', masterPort: await port() }
  const first = machine({ ...same, nodeRank: '0' }, [file])
  const second = machine({ ...same, nodeRank: '1' }, [file])
  await delay(1500)
  const third = await machine({ ...same, nodeRank: '1' }, [file]).ended
  t.match(third.text, /node rank 1 of .* is taken/)
  for (const node of [first, second]) node.signal('SIGKILL')
})
