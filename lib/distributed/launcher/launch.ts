/** `star launch`: the part of one machine. Starts its workers when told, reports how they end, hands signals on. */
import { lookup } from 'node:dns/promises'
import { mkdtempSync } from 'node:fs'
import { createServer, connect as openSocket, type Server, type Socket } from 'node:net'
import { hostname, networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { StarError } from '../../native/error.js'
import { Coordinator, describeFailure, type Patience, usualPatience } from './coordinator.js'
import { type Link, memoryLink, socketLink, type ToCoordinator, type ToNode } from './link.js'
import type { LaunchOptions } from './options.js'
import { Workers } from './workers.js'

export interface LaunchExtras {
  /** Receives progress messages, a line each. */
  log?: (line: string) => void
  patience?: Patience
}

/** Signals that end the workers; SIGUSR1 asks them to save and continue. */
const endings: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']

/**
 * Runs `command` as this machine's share of the workers and resolves when all machines' workers have ended well (or, after a
 * signal, have ended in order).
 * @throws ERR_COMM with the first failure when restarts are used up, when too few machines came, or when the first machine is gone
 */
export async function launch(
  command: readonly string[],
  options: LaunchOptions,
  { log = () => {}, patience = usualPatience }: LaunchExtras = {},
): Promise<void> {
  const logDir = options.logDir ?? temporaryLogs(options, log)
  const server = options.nodes.max === 1 ? null : await openServer(options)
  let coordinator: Coordinator | null = null
  let link: Link<ToCoordinator, ToNode>
  if (server || options.nodes.max === 1) {
    coordinator = new Coordinator({ ...options, freePort, patience, log })
    const [near, far] = memoryLink<ToCoordinator, ToNode>()
    coordinator.connect(far)
    link = near
    server?.on('connection', (socket) => coordinator?.connect(socketLink(socket)))
  } else link = socketLink(await reachFirstMachine(options, patience))
  const beat = setInterval(
    () => {
      link.send({ type: 'alive' })
      coordinator?.beat()
    },
    Math.min(options.monitorInterval, patience.silence / 3) * 1000,
  )
  try {
    await runNode(command, { ...options, logDir }, link, patience, log)
  } finally {
    clearInterval(beat)
    link.close()
    server?.close()
  }
}

/** A folder for log files where streams are sent to files and none is named. */
function temporaryLogs({ processes, redirects, tee }: LaunchOptions, log: (line: string) => void): string | null {
  const wanted = Array.from({ length: processes }, (_, rank) => [redirects(rank), tee(rank)]).flat()
  if (!wanted.some(({ stdout, stderr }) => stdout || stderr)) return null
  const folder = mkdtempSync(join(tmpdir(), 'star-launch-'))
  log(`log files: ${folder}`)
  return folder
}

const listening = (server: Server, port: number, address?: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, address, resolve)
  })

async function freePort(): Promise<number> {
  const server = createServer()
  await listening(server, 0)
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** The coordinator's server if this is the first machine: rank 0, or, where ranks are not given, the first at MASTER_ADDR. */
async function openServer({ nodeRank, masterAddr, masterPort }: LaunchOptions): Promise<Server | null> {
  if (nodeRank !== null && nodeRank > 0) return null
  const { address } = await lookup(masterAddr).catch((error: Error) => {
    throw new StarError('ERR_COMM', `--master-addr ${masterAddr} is no address that is known here: ${error.message}`)
  })
  const own = Object.values(networkInterfaces()).some((list) => list?.some((entry) => entry.address === address))
  if (!own) {
    if (nodeRank === null) return null
    throw new StarError(
      'ERR_COMM',
      `--node-rank is 0, but --master-addr ${masterAddr} (${address}) is no address of this machine: rank 0 belongs to the machine it names`,
    )
  }
  const server = createServer()
  try {
    await listening(server, masterPort, address)
    return server
  } catch (error) {
    const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
    if (taken && nodeRank === null) return null
    throw new StarError(
      'ERR_COMM',
      `port ${masterPort} of ${masterAddr} cannot be opened: ${(error as Error).message}; choose another --master-port on all machines`,
    )
  }
}

/** The first machine may start later than this one. */
async function reachFirstMachine({ masterAddr, masterPort }: LaunchOptions, patience: Patience): Promise<Socket> {
  const until = performance.now() + patience.join * 1000
  for (;;) {
    try {
      return await reach(masterAddr, masterPort, Math.min(5, patience.join))
    } catch (error) {
      if (performance.now() > until)
        throw new StarError(
          'ERR_COMM',
          `the first machine, ${masterAddr}:${masterPort}, was not reached within ${patience.join} s (${(error as Error).message}): check --master-addr and --master-port, and that "star launch" runs there`,
        )
      await delay(200)
    }
  }
}

function reach(address: string, port: number, seconds: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = openSocket(port, address)
    const late = setTimeout(() => socket.destroy(new Error('no answer')), seconds * 1000)
    socket.once('error', (error) => {
      clearTimeout(late)
      reject(error)
    })
    socket.once('connect', () => {
      clearTimeout(late)
      socket.removeAllListeners('error')
      resolve(socket)
    })
  })
}

/** Until the coordinator says that it is over. */
function runNode(
  command: readonly string[],
  options: LaunchOptions,
  link: Link<ToCoordinator, ToNode>,
  patience: Patience,
  log: (line: string) => void,
): Promise<void> {
  let workers: Workers | null = null
  let heard = performance.now()
  let over = false
  return new Promise<void>((resolve, reject) => {
    const finish = async (error: StarError | null) => {
      if (over) return
      over = true
      clearInterval(watch)
      await workers?.stop()
      for (const [name, handler] of handlers) process.off(name, handler)
      if (error) reject(error)
      else resolve()
    }
    const gone = (reason: string) =>
      void finish(
        new StarError(
          'ERR_COMM',
          `the first machine (${options.masterAddr}:${options.masterPort}) is gone: ${reason}; start the launch again on all machines`,
        ),
      )
    const watch = setInterval(() => {
      if (performance.now() - heard > patience.silence * 1000) gone(`no sign of life for ${patience.silence} s`)
    }, 1000)
    const handlers = new Map<NodeJS.Signals, () => void>()
    for (const name of endings) {
      let times = 0
      handlers.set(name, () => {
        times += 1
        if (times === 1) link.send({ type: 'interrupt', signal: name })
        else workers?.signal('SIGKILL')
      })
    }
    handlers.set('SIGUSR1', () => workers?.signal('SIGUSR1'))
    for (const [name, handler] of handlers) process.on(name, handler)

    link.onClose = gone
    link.onMessage = (message) => {
      heard = performance.now()
      switch (message.type) {
        case 'start': {
          const { attempt, firstRank, worldSize } = message.assignment
          const last = firstRank + options.processes - 1
          log(`attempt ${attempt}: ranks ${firstRank} to ${last} of ${worldSize} on this machine`)
          workers = new Workers(command, message.assignment, options, {
            failed: (failure) => link.send({ type: 'failed', attempt, failure }),
            finished: () => link.send({ type: 'finished', attempt }),
          })
          return
        }
        case 'stop': {
          const stopping = workers
          void stopping?.stop().then(() => link.send({ type: 'stopped', attempt: stopping.attempt }))
          return
        }
        case 'interrupt':
          workers?.end(message.signal)
          return
        case 'end': {
          const { failure, problem } = message
          const text = [problem, failure && describeFailure(failure)].filter(Boolean).join('; ')
          void finish(text === '' ? null : new StarError('ERR_COMM', text))
          return
        }
      }
    }
    link.send({ type: 'join', nodeRank: options.nodeRank, processes: options.processes, host: hostname() })
  })
}
