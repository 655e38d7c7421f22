/** What connects to the store of a group and is none of its processes: it is dropped, told of, and changes nothing. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { readEnvironment } from '../../../lib/distributed/environment.js'
import { native, packageRoot } from '../../../lib/native/index.js'

const job = 'a job'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** A process that is rank 0 of two, and ends well once both have met. */
function rankZero(port: number) {
  const source = `import { native } from './dist/lib/native/index.js'
const group = await native.connectGroup('cpu', 0, 0, 2, '127.0.0.1', ${port}, 1, ${JSON.stringify(job)}, 120000)
group.barrier().wait()
group.close()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { cwd: packageRoot, stdio: 'pipe' })
  let errors = ''
  child.stderr.on('data', (text) => {
    errors += text
  })
  return { child, errors: () => errors, ended: once(child, 'close') }
}

/** Returns when a process has written this; the test ends by its time-out where it does not. */
async function told(errors: () => string, line: RegExp): Promise<void> {
  while (!line.test(errors())) await delay(20)
}

async function stranger(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    try {
      await once(socket, 'connect')
      return socket
    } catch {
      await delay(50)
    }
  }
}

t.test('garbage, half a message, a flood and a wrong secret', async (t) => {
  const port = await freePort()
  const { child, errors, ended } = rankZero(port)
  t.teardown(() => child.kill('SIGKILL'))
  const garbage = await stranger(port)
  garbage.write('GET / HTTP/1.1\r\n\r\n')
  await once(garbage, 'close')
  await told(errors, /star: dropped a connection from \S*127\.0\.0\.1 to port \d+: it did not speak as a process/)

  t.throws(() => new native.StoreClient('127.0.0.1', port, 1, 'another secret', 500), {
    code: 'ERR_COMM',
    message: /what listens there is not this training's rank 0/,
  })
  await told(errors, /it belongs to another training, or has another STAR_GROUP_SECRET/)

  // A message that would be 4 GiB long, one that does not come, and more connections than the store lets in.
  const long = await stranger(port)
  long.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 1]))
  await once(long, 'close')
  const half = await stranger(port)
  half.write(Buffer.from([8, 0, 0, 0, 1]))
  const flood = await Promise.all(Array.from({ length: 300 }, () => stranger(port)))
  for (const socket of [...flood, half]) socket.destroy()

  const group = await native.connectGroup('cpu', 0, 1, 2, '127.0.0.1', port, 1, job, 60_000)
  group.barrier().wait()
  group.close()
  const [code] = await ended
  t.equal(code, 0)
  t.ok(errors().split('\n').length <= 12, 'of a flood some are told')
})

t.test('values that a member sends are bounded too', async (t) => {
  const port = await freePort()
  const { child } = rankZero(port)
  t.teardown(() => child.kill('SIGKILL'))
  const member = new native.StoreClient('127.0.0.1', port, 1, job, 20_000)
  t.equal(member.add('n', 2 ** 53 - 1), 2 ** 53 - 1)
  const large = 'x'.repeat(8 << 20)
  t.throws(
    () => {
      for (let i = 0; i < 20; i++) member.set(`k${i}`, large)
    },
    { code: 'ERR_COMM' },
  )
  t.equal(new native.StoreClient('127.0.0.1', port, 1, job, 5000).add('n', 0), 2 ** 53 - 1, 'the store is there')
})

t.test('the secret is part of what the store knows of a job', async (t) => {
  const place = {
    RANK: '0',
    WORLD_SIZE: '2',
    LOCAL_RANK: '0',
    LOCAL_WORLD_SIZE: '2',
    MASTER_ADDR: 'x',
    MASTER_PORT: '29400',
  }
  const jobOf = (more: Record<string, string>) => readEnvironment({ ...place, ...more }).job
  t.equal(jobOf({}), '')
  t.match(jobOf({ STAR_GROUP_SECRET: 'a' }), / [0-9a-f]{64}$/)
  t.not(jobOf({ STAR_GROUP_SECRET: 'a' }), jobOf({ STAR_GROUP_SECRET: 'b' }))
  t.notMatch(jobOf({ STAR_GROUP_SECRET: 'a secret' }), 'a secret')
})
