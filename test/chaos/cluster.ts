/**
 * Trainings of two processes under `star launch` whose workers are killed, stopped and cut off at random moments. With the restarts
 * that they are allowed, each must end in the weights of a launch that was left alone, byte for byte.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { packageRoot } from '../../lib/native/index.js'
import type { Random } from '../../lib/tensor/index.js'
import { listCheckpoints } from '../../lib/train/checkpoint/checkpointer.js'
import { ResumedRun } from '../support/resume.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'
import { Violation } from './training.js'

const steps = 30
const restarts = 3

interface Launch {
  readonly launcher: ChildProcess
  readonly ended: Promise<{ code: number | null; output: string }>
  /** Processes of the workers that live. */
  workers(): number[]
}

/** Does its harm once. @returns whether there was somebody to harm */
type Fault = (launch: Launch, random: Random) => Promise<boolean>

const signal = (pid: number, name: NodeJS.Signals): boolean => {
  try {
    return process.kill(pid, name)
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

const one = (pids: readonly number[], random: Random): number | undefined =>
  pids.length > 0 ? pids[random.integer(pids.length)] : undefined

export const clusterFaults: Readonly<Record<string, Fault>> = {
  async 'worker killed'({ workers }, random) {
    const pid = one(workers(), random)
    return pid !== undefined && signal(pid, 'SIGKILL')
  },

  async 'all workers killed'({ workers }) {
    return workers()
      .map((pid) => signal(pid, 'SIGKILL'))
      .some(Boolean)
  },

  // Shorter than anybody's patience: all wait and go on.
  async 'worker stopped for a while'({ workers }, random) {
    const pid = one(workers(), random)
    if (pid === undefined || !signal(pid, 'SIGSTOP')) return false
    await delay(200 + 1500 * random.next())
    signal(pid, 'SIGCONT')
    return true
  },

  // Longer than it: the others say who is missing, and the launcher ends it.
  async 'worker stopped for good'({ workers }, random) {
    const pid = one(workers(), random)
    return pid !== undefined && signal(pid, 'SIGSTOP')
  },

  async 'worker ended in order'({ workers }, random) {
    const pid = one(workers(), random)
    return pid !== undefined && signal(pid, 'SIGTERM')
  },
}

/** Of the newest checkpoint; 0 where there is none. */
const stepOf = ({ runFolder }: ResumedRun): number =>
  existsSync(join(runFolder, 'checkpoints')) ? (listCheckpoints(runFolder).at(0)?.step ?? 0) : 0

/** The processes below one, by /proc. */
function descendants(root: number): { pid: number; command: string }[] {
  const all = readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const parent = Number(/\) . (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1])
      return [
        { pid: Number(name), parent, command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') },
      ]
    } catch {
      // It ended between the two readings.
      return []
    }
  })
  const found = new Set([root])
  for (let before = 0; before < found.size; ) {
    before = found.size
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid)
  }
  return all.filter(({ pid }) => pid !== root && found.has(pid))
}

export class ClusterChaos {
  #expected: Record<string, string> = {}
  #milliseconds = 0

  private constructor(
    private readonly folder: string,
    private readonly pack: string,
  ) {}

  /** Trains a tokenizer, and the launch that all others are compared with. */
  static async prepare(folder: string): Promise<ClusterChaos> {
    const pack = await writeTinyPack(folder)
    await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 4))
    const chaos = new ClusterChaos(folder, pack)
    const began = performance.now()
    const { run, launch } = chaos.#launch(join(folder, 'alone'))
    const { code, output } = await launch.ended
    if (code !== 0) throw new Violation(`a launch that was left alone ended with ${code}: ${output}`)
    chaos.#milliseconds = performance.now() - began
    chaos.#expected = run.tensors()
    return chaos
  }

  #launch(own: string): { run: ResumedRun; launch: Launch } {
    mkdirSync(own, { recursive: true })
    const config = {
      ...tinyTransformerRun(join(own, 'run'), this.pack, join(this.folder, 'tokenizer', 'model'), steps),
      work: { logEvery: 1, saveEvery: 5, keep: 2, validateEvery: 0, picturesEvery: 0 },
    }
    const file = join(own, 'run.json')
    writeFileSync(file, JSON.stringify(config))
    const flags = ['--nproc-per-node', '2', '--max-restarts', String(restarts)]
    const args = [join(packageRoot, 'bin', 'star.js'), 'launch', ...flags, 'train', file, '--device', 'cpu']
    // A worker that does not answer is given up after some seconds.
    const env = { ...process.env, STAR_COMM_TIMEOUT: '5', OMP_NUM_THREADS: '1' }
    const launcher = spawn(process.execPath, args, { cwd: own, stdio: ['ignore', 'pipe', 'pipe'], env })
    let output = ''
    for (const stream of [launcher.stdout!, launcher.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    const ended = new Promise<{ code: number | null; output: string }>((resolve) =>
      launcher.on('close', (code) => resolve({ code, output })),
    )
    const workers = (): number[] =>
      descendants(launcher.pid!).flatMap(({ pid, command }) => (command.includes(' train ') ? [pid] : []))
    return { run: new ResumedRun(own, config), launch: { launcher, ended, workers } }
  }

  /** Launches with a fault, until it meets one at work. @throws Violation */
  async round(name: string, number: number, random: Random): Promise<void> {
    for (let times = 1; !(await this.#train(name, join(this.folder, `cluster-${number}-${times}`), random)); times++)
      if (times === 10) throw new Violation('ten launches were over before it came')
  }

  async #train(name: string, own: string, random: Random): Promise<boolean> {
    const { run, launch } = this.#launch(own)
    let met: boolean
    try {
      await Promise.race([launch.ended, delay(this.#milliseconds * random.next())])
      met = await clusterFaults[name](launch, random)
      const patience = delay(180_000, null, { ref: false })
      const outcome = await Promise.race([launch.ended, patience])
      if (!outcome) throw new Violation('the launch did not end within three minutes')
      // A signal to end in order is obeyed: all workers stop with a checkpoint, and the same command continues.
      const complete = stepOf(run) === steps
      const last = complete || name !== 'worker ended in order' ? outcome : await this.#launch(own).launch.ended
      if (last.code !== 0 || stepOf(run) !== steps)
        throw new Violation(`the launch ended with ${last.code} at step ${stepOf(run)}: ${last.output}`)
      if (JSON.stringify(run.tensors()) !== JSON.stringify(this.#expected))
        throw new Violation('other weights than those of a launch that was left alone')
    } finally {
      for (const { pid } of descendants(launch.launcher.pid!)) signal(pid, 'SIGKILL')
      launch.launcher.kill('SIGKILL')
    }
    rmSync(own, { recursive: true })
    return met
  }
}
