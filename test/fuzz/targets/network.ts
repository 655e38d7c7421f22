/** What listens: the page of star watch and the store of a process group, attacked over sockets. */
import { connect, type Socket } from 'node:net'
import { native } from '../../../lib/native/index.js'
import { openRuns, serveRuns } from '../../../lib/server/index.js'
import { writeSampleRun } from '../../support/sample-run.js'
import type { FuzzTarget } from '../target.js'

/**
 * Sends bytes, ends its side once something has come back, and gives what came until the other side has ended too, or for a
 * moment.
 */
function exchange(port: number, input: Buffer, patience: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const socket: Socket = connect({ host: '127.0.0.1', port, noDelay: true })
    const finish = (): void => {
      socket.destroy()
      resolve(Buffer.concat(parts))
    }
    const timer = setTimeout(finish, patience)
    socket.on('data', (part) => {
      parts.push(part)
      socket.end()
    })
    socket.on('close', () => {
      clearTimeout(timer)
      finish()
    })
    // A reset is an answer too; nobody listening is not.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') reject(error)
    })
    socket.write(input)
  })
}

export const http: FuzzTarget = {
  name: 'http',
  sources: ['lib/server/runs/watch-server.js', 'lib/server/http/app.js', 'lib/server/runs/run-view.js'],
  pieces: [
    'GET ',
    'HEAD ',
    'POST ',
    ' HTTP/1.1\r\n',
    'Content-Length: 5\r\n',
    '\r\n\r\n',
    '/pictures/0/',
    '/runs',
    '/events',
    '%2f',
    '%ff',
  ],
  seeds: () =>
    ['/', '/runs', '//', '/pictures/0/ep1_iter50/caf%C3%A9.png', '/page.js?x#y'].map((path) =>
      Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`),
    ),
  open: async (scratch) => {
    const server = await serveRuns(openRuns([writeSampleRun(scratch)]), { host: '127.0.0.1', port: 0, interval: 1e6 })
    const { port } = new URL(server.address)
    return {
      run: async (input) => {
        const status = /^HTTP\/1\.1 (\d+)/.exec((await exchange(Number(port), input, 50)).toString('latin1'))?.[1]
        if (status === '500') throw new Error('the page was answered with 500')
        return `status ${status ?? 'none'}`
      },
      close: () => server.close(),
    }
  },
}

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(BigInt(value))
  return bytes
}
const text = (value: string): Buffer => Buffer.concat([number(Buffer.byteLength(value)), Buffer.from(value)])
const message = (...fields: Buffer[]): Buffer => {
  const body = Buffer.concat(fields)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(body.length)
  return Buffer.concat([length, body])
}
const job = 'fuzz'
const hello = message(number(1), text('star-t2i store 1'), text(job))

export const store: FuzzTarget = {
  name: 'store',
  sources: [],
  pieces: [hello.toString('latin1'), ...[2, 3, 4, 5, 6, 7, 8, 9].map((op) => number(op).toString('latin1'))],
  seeds: () => [
    hello,
    Buffer.concat([hello, message(number(2), number(1), number(2), number(9), text('host'))]),
    Buffer.concat([hello, message(number(3), text('k'), text('v')), message(number(5), text('k'), number(5))]),
    Buffer.concat([hello, message(number(4), text('k'), text('v')), message(number(6), text('n'), number(2 ** 52))]),
    Buffer.concat([hello, message(number(7), number(3)), message(number(8)), message(number(9))]),
  ],
  open: async () => {
    let port = 20_000 + (process.pid % 10_000)
    // Rank 0 of two opens the store and waits for the other, for as long as the fuzzer runs.
    const group = native.connectGroup('cpu', 0, 0, 2, '127.0.0.1', port, 100, job, 2 ** 31)
    group.catch(() => {})
    const members = await found(port)
    port = members.port
    let asked = 0
    return {
      run: async (input) => {
        const answer = await exchange(port, input, 20)
        // The store still knows its members' keys.
        if (++asked % 50 === 0 && members.store.add('asked', 1) < 1) throw new Error('the store has forgotten a number')
        return `answered ${Math.min(answer.length, 64)}`
      },
    }
  },
}

/** The store among the ports from `port` on, once it listens. */
async function found(port: number): Promise<{ port: number; store: InstanceType<typeof native.StoreClient> }> {
  const client = new native.StoreClient('127.0.0.1', port, 100, job, 20_000)
  for (let candidate = port; candidate < port + 100; candidate++)
    if ((await exchange(candidate, hello, 300).catch(() => Buffer.alloc(0))).length === 12)
      return { port: candidate, store: client }
  throw new Error('the store does not listen')
}
