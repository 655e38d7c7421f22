/** The worker processes of one machine in one attempt: started with the environment of torchrun's workers, watched and ended. */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Assignment, Failure } from './link.js'
import type { LaunchOptions } from './options.js'
import { logFiles, WorkerLog } from './worker-log.js'

/** Time that a worker has for ending in order after a signal. */
export const graceSeconds = 30

/** How a worker ended. */
interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

interface Worker {
  readonly rank: number
  readonly child: ChildProcess
  readonly stderr: WorkerLog
  readonly log: string | null
  /** Resolves when the process has ended and its output is written. */
  readonly ended: Promise<Exit>
  running: boolean
}

export interface WorkersEvents {
  /** A worker failed; told once, of the first. */
  failed(failure: Failure): void
  /** Every worker has ended with exit code 0. */
  finished(): void
}

export class Workers {
  readonly #workers: Worker[]
  /** The attempt that they belong to. */
  readonly attempt: number
  #told = false
  #stopping = false
  #deadline: NodeJS.Timeout | undefined

  /** @param command program and arguments, the same for every worker */
  constructor(
    command: readonly string[],
    assignment: Assignment,
    options: Pick<LaunchOptions, 'processes' | 'logDir' | 'redirects' | 'tee'>,
    private readonly events: WorkersEvents,
  ) {
    this.attempt = assignment.attempt
    this.#workers = Array.from({ length: options.processes }, (_, localRank) =>
      this.#start(command, assignment, localRank, options),
    )
    void this.#watch()
  }

  #start(
    [program, ...args]: readonly string[],
    assignment: Assignment,
    localRank: number,
    { processes, logDir, redirects, tee }: Pick<LaunchOptions, 'processes' | 'logDir' | 'redirects' | 'tee'>,
  ): Worker {
    const rank = assignment.firstRank + localRank
    const files = logDir === null ? null : logFiles(logDir, assignment.attempt, rank)
    const child = spawn(program, args, {
      env: { ...process.env, ...workerEnvironment(assignment, localRank, processes) },
      // The channel closes with the launcher, however that ends: the sign for the worker to end too.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // A process group of its own: a signal reaches what the worker has started as well, and Ctrl-C comes by way of us.
      detached: true,
    })
    const target = (name: 'stdout' | 'stderr') => ({
      file: files?.[name] ?? null,
      console: tee(localRank)[name] || !redirects(localRank)[name],
      prefix: tee(localRank)[name] ? `[rank${rank}]: ` : '',
    })
    const stdout = new WorkerLog(child.stdout!, process.stdout, target('stdout'))
    const stderr = new WorkerLog(child.stderr!, process.stderr, target('stderr'))
    const exit = new Promise<Exit>((resolve) => {
      child.on('error', (error) => {
        stderr.note(error.message)
        if (child.pid === undefined) resolve({ code: 127, signal: null })
      })
      child.on('exit', (code, signal) => resolve({ code, signal }))
    })
    const worker: Worker = {
      rank,
      child,
      stderr,
      log: files?.stderr ?? null,
      running: true,
      ended: exit.then(async (how) => {
        worker.running = false
        this.#reap(worker, 'SIGKILL')
        await Promise.all([stdout.ended, stderr.ended])
        return how
      }),
    }
    return worker
  }

  async #watch(): Promise<void> {
    const exits = await Promise.all(
      this.#workers.map(async (worker) => {
        const exit = await worker.ended
        if ((exit.code !== 0 || exit.signal) && !this.#told && !this.#stopping) {
          this.#told = true
          this.events.failed(failureOf(worker, exit))
        }
        return exit
      }),
    )
    clearTimeout(this.#deadline)
    if (!this.#told && !this.#stopping && exits.every(({ code }) => code === 0)) this.events.finished()
  }

  /** Hands on a signal. */
  signal(name: NodeJS.Signals): void {
    for (const worker of this.#workers) if (worker.running) this.#reap(worker, name)
  }

  /** Hands on a signal that should end the workers, and enforces it after the time of grace. Failures still count. */
  end(name: NodeJS.Signals): void {
    this.signal(name)
    this.#deadline ??= setTimeout(() => this.signal('SIGKILL'), graceSeconds * 1000)
  }

  /** Ends the workers, whose exit codes no longer matter; resolves when all are gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.end('SIGTERM')
    await Promise.all(this.#workers.map(({ ended }) => ended))
    clearTimeout(this.#deadline)
  }

  /** Sends a signal to the worker's process group. */
  #reap({ child }: Worker, name: NodeJS.Signals): void {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, name)
    } catch (error) {
      // The group is empty already.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

/** Of this launcher's workers, where they are all there are. On several machines the user chooses a secret for all. */
const ownSecret = randomBytes(16).toString('hex')

/** The variables that torchrun sets, of which programs of this family read their place. */
function workerEnvironment(
  { firstRank, worldSize, groupRank, masterAddr, masterPort }: Assignment,
  localRank: number,
  processes: number,
): Record<string, string> {
  const shared = processes > 1 && process.env.OMP_NUM_THREADS === undefined
  return {
    RANK: String(firstRank + localRank),
    LOCAL_RANK: String(localRank),
    WORLD_SIZE: String(worldSize),
    LOCAL_WORLD_SIZE: String(processes),
    GROUP_RANK: String(groupRank),
    MASTER_ADDR: masterAddr,
    MASTER_PORT: String(masterPort),
    ...(worldSize === processes && !process.env.STAR_GROUP_SECRET ? { STAR_GROUP_SECRET: ownSecret } : {}),
    ...(shared ? { OMP_NUM_THREADS: '1' } : {}),
  }
}

function failureOf({ rank, stderr, log }: Worker, { code, signal }: Exit): Failure {
  return {
    rank,
    host: hostname(),
    reason: signal ? `signal ${signal}` : `exit code ${code}`,
    message: stderr.tail,
    log,
  }
}
