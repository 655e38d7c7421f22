/** Real processes as the ranks of one group: each runs a function of a module, with the environment that a launcher sets. */
import { type ChildProcess, fork } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { DistributedEnvironment } from '../../lib/distributed/environment.js'

/**
 * What a rank does: an exported function of a module. `tell` sends something to the test meanwhile. Values pass by structured
 * clone: typed arrays may be in them.
 */
export type RankFunction<Input = never, Value = unknown> = (
  env: DistributedEnvironment,
  input: Input,
  tell: (what: unknown) => Promise<void>,
) => Value | Promise<Value>

export interface RankError {
  /** Of a StarError; null for any other error. */
  code: string | null
  message: string
  stack: string
}

export type FromRank = { told: unknown } | { value: unknown } | { error: RankError }

export interface RankEnd<Value> {
  rank: number
  /** What the function returned or threw; both undefined if the process ended before. */
  value?: Value
  error?: RankError
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
  /** Between the start of the ranks and this one's result or error; until its end if it gave none. */
  seconds: number
}

export interface RanksOptions {
  size: number
  /** Ranks to start, which may leave out some or name one twice; default: each once. */
  ranks?: readonly number[]
  /** More variables, or others, for the process that stands at `place` in `ranks`. */
  env?: (rank: number, place: number) => Record<string, string>
  /** Milliseconds to wait before the process at `place` in `ranks` starts. */
  delay?: (rank: number, place: number) => number
  /** Where rank 0 listens; default: a free port. */
  port?: number
  input?: unknown
  /** What the process of a rank is started behind, such as `ip netns exec NAME`. */
  wrapper?: (rank: number) => readonly string[]
}

/** Part of a tap test that ends what was started. */
export interface Owner {
  teardown(end: () => unknown): void
}

const mainFile = fileURLToPath(new URL('rank-main.js', import.meta.url))

/** A port of this machine that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** One process of a group. */
export class Rank<Value> {
  readonly ended: Promise<RankEnd<Value>>
  readonly #child: ChildProcess
  readonly #told: unknown[] = []
  #wake = (): void => {}
  #over = false

  constructor(
    readonly rank: number,
    env: NodeJS.ProcessEnv,
    {
      module,
      name,
      input,
      begun,
      wrapper,
    }: { module: URL; name: string; input: unknown; begun: number; wrapper: readonly string[] },
  ) {
    const [program, ...before] = [...wrapper, process.execPath]
    const child = fork(mainFile, [module.href, name], {
      execPath: program,
      execArgv: before,
      env,
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child = child
    const end: RankEnd<Value> = { rank, code: null, signal: null, stderr: '', seconds: 0 }
    const clock = (): void => {
      if (end.value === undefined && end.error === undefined) end.seconds = (performance.now() - begun) / 1000
    }
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      end.stderr += text
    })
    child.on('message', (message: FromRank) => {
      if ('told' in message) this.#told.push(message.told)
      else {
        clock()
        Object.assign(end, message)
      }
      this.#wake()
    })
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        clock()
        this.#over = true
        this.#wake()
        resolve({ ...end, code, signal })
      })
    })
    child.send({ input }, (error) => {
      // A process that has ended says so by `ended`.
      if (error && child.exitCode === null && child.signalCode === null) this.#child.kill('SIGKILL')
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  get running(): boolean {
    return !this.#over
  }

  /** The next thing that the rank tells. */
  async told(): Promise<unknown> {
    while (this.#told.length === 0) {
      if (this.#over) throw new Error(`rank ${this.rank} ended without telling: ${(await this.ended).stderr}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#told.shift()
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }
}

/** Starts the ranks. Those that still run at the end of the test are killed. */
export async function startRanks<Value>(
  owner: Owner,
  module: URL,
  name: string,
  {
    size,
    ranks = Array.from({ length: size }, (_, rank) => rank),
    env,
    delay: wait,
    port,
    input,
    wrapper,
  }: RanksOptions,
): Promise<Rank<Value>[]> {
  const common = {
    ...process.env,
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: String(port ?? (await freePort())),
    OMP_NUM_THREADS: '1',
  }
  const begun = performance.now()
  return await Promise.all(
    ranks.map(async (rank, place) => {
      await delay(wait?.(rank, place) ?? 0)
      const own = {
        RANK: String(rank),
        WORLD_SIZE: String(size),
        LOCAL_RANK: String(rank),
        LOCAL_WORLD_SIZE: String(size),
      }
      const variables = { ...common, ...own, ...env?.(rank, place) }
      const process = new Rank<Value>(rank, variables, { module, name, input, begun, wrapper: wrapper?.(rank) ?? [] })
      owner.teardown(() => process.kill('SIGKILL'))
      return process
    }),
  )
}

/** How the ranks end. Those that still run after `seconds` are killed and named in the error. */
export async function endsOf<Value>(ranks: readonly Rank<Value>[], seconds: number): Promise<RankEnd<Value>[]> {
  let late: number[] = []
  const limit = setTimeout(() => {
    const running = ranks.filter((rank) => rank.running)
    late = running.map(({ rank }) => rank)
    for (const rank of running) rank.kill('SIGKILL')
  }, seconds * 1000)
  const ends = await Promise.all(ranks.map(({ ended }) => ended))
  clearTimeout(limit)
  if (late.length > 0) throw new Error(`still running after ${seconds} s: rank ${late.join(', ')}`)
  return ends
}

/** Runs the function as ranks 0 to size − 1 and gives what they return. @throws what a rank threw, with its rank */
export async function runRanks<Value>(
  owner: Owner,
  module: URL,
  name: string,
  { seconds = 60, ...options }: RanksOptions & { seconds?: number },
): Promise<Value[]> {
  const ends = await endsOf(await startRanks<Value>(owner, module, name, options), seconds)
  return ends.map(({ rank, error, value, code, signal, stderr }) => {
    if (error) throw new Error(`rank ${rank}: ${error.stack}`)
    if (code !== 0) throw new Error(`rank ${rank} ended with ${signal ?? `exit code ${code}`}: ${stderr}`)
    return value as Value
  })
}
