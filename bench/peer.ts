/** The peer: a Python process that runs the same cases with PyTorch 2, and the environment it needs. */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { packageRoot, StarError } from '../lib/native/index.js'
import type { BenchCase, PeerMode } from './cases.js'

type Request =
  | { op: 'open'; case: BenchCase }
  | { op: 'check'; mode: PeerMode; file: string }
  | { op: 'time'; mode: PeerMode }
  | { op: 'close' }

/** Python with torch, numpy and safetensors: $STAR_BENCH_PYTHON, or a virtual environment made on first use. */
export function benchPython(): string {
  const given = process.env.STAR_BENCH_PYTHON
  if (given) return given
  const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'star-t2i', 'bench-venv')
  const python = join(folder, 'bin', 'python')
  if (!existsSync(join(folder, '.complete')))
    execFileSync(join(packageRoot, 'scripts', 'bench-venv'), [folder], { stdio: ['ignore', 2, 2] })
  return python
}

export class Peer {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>
  #failure = 'its message is above'

  private constructor(python: string, threads: number) {
    const script = join(packageRoot, 'bench', 'twin', 'serve.py')
    this.#process = spawn(python, ['-B', script, String(threads)], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]()
  }

  /** Starts the process. @returns the peer and the versions it runs */
  static async start(python: string, threads: number): Promise<{ peer: Peer; versions: Record<string, unknown> }> {
    const peer = new Peer(python, threads)
    // A process that cannot start or has ended shows as the end of its output, which #answer reports.
    peer.#process.on('error', (error) => {
      peer.#failure = error.message
    })
    peer.#process.stdin.on('error', () => {})
    return { peer, versions: await peer.#answer() }
  }

  async open(bench: BenchCase): Promise<void> {
    await this.#ask({ op: 'open', case: bench })
  }

  /** Runs the case once and writes its outputs as safetensors. */
  async check(mode: PeerMode, file: string): Promise<void> {
    await this.#ask({ op: 'check', mode, file })
  }

  /** Milliseconds of one run, measured there. */
  async time(mode: PeerMode): Promise<number> {
    const { ms } = await this.#ask({ op: 'time', mode })
    if (typeof ms !== 'number') throw new StarError('ERR_INTERNAL', 'bench: the peer answered no time')
    return ms
  }

  async close(): Promise<void> {
    await this.#ask({ op: 'close' })
  }

  stop(): void {
    this.#process.stdin.end()
  }

  async #ask(request: Request): Promise<Record<string, unknown>> {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`)
    return this.#answer()
  }

  async #answer(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#lines.next()
    if (done)
      throw new StarError(
        'ERR_FILE',
        `bench: the Python process ended (${this.#failure}). ${this.#process.spawnfile} must have torch 2, numpy and ` +
          'safetensors: remove the cached environment to have it made anew, or set STAR_BENCH_PYTHON',
      )
    return JSON.parse(value) as Record<string, unknown>
  }
}
