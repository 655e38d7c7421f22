/**
 * Trainings that meet a fault at a random moment. Each must end in the weights of one that was left alone, byte for byte: at once,
 * or after an error of one line and a second start, once the cause is gone.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Random } from '../../lib/tensor/index.js'
import { listCheckpoints } from '../../lib/train/checkpoint/checkpointer.js'
import { type Outcome, ResumedRun } from '../support/resume.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'
import { buildDisturb, Disturbance, errors } from './disturbance.js'
import { MemoryGroup } from './memory-group.js'

const worker = fileURLToPath(new URL('../support/resume-worker.js', import.meta.url))
const steps = 40
const work = { logEvery: 1, saveEvery: 5, keep: 2, validateEvery: 20 }

/** A training of a round: its process, and what can be done to it. */
interface Round {
  readonly run: ResumedRun
  readonly random: Random
  readonly disturbance: Disturbance
  readonly pack: string
  /** Starts the training, or starts it again. */
  start(): Started
}

interface Started {
  readonly child: ChildProcess
  readonly ended: Promise<Outcome>
  /** Waits for a random moment of the training, which may be over by then. */
  someMoment(): Promise<void>
}

/** Does its harm and sees the training through. @returns whether it came while the training was at work. @throws Violation */
type Fault = (round: Round) => Promise<boolean>

/** What must not happen. */
export class Violation extends Error {}

function expectEnd({ code, stderr }: Outcome): void {
  if (code !== 0) throw new Violation(`the training ended with ${code}: ${stderr}`)
}

/** A clear error: one line that names the cause, and no bug of ours. */
function expectError({ code, stderr }: Outcome, message: RegExp): void {
  const lines = stderr.trim().split('\n')
  if (code !== 2 || lines.length !== 1 || !message.test(stderr) || /unexpected|please report/.test(stderr))
    throw new Violation(`expected one line with ${message}, the training ended with ${code}: ${stderr}`)
}

/** A fault of the disk from a random moment on. */
const brokenDisk =
  (error: number, message: RegExp): Fault =>
  async ({ start, disturbance, run }) => {
    const first = start()
    await first.someMoment()
    disturbance.set({ error })
    const outcome = await first.ended
    disturbance.set({})
    if (outcome.code === 0 && run.lastStep() === steps) return false
    expectError(outcome, message)
    expectEnd(await start().ended)
    return true
  }

/** One that only takes time, or only shows another time. */
const nuisance =
  (change: (random: Random) => Parameters<Disturbance['set']>[0]): Fault =>
  async ({ start, disturbance, random }) => {
    const first = start()
    await first.someMoment()
    const met = first.child.exitCode === null
    disturbance.set(change(random))
    const outcome = await first.ended
    disturbance.set({})
    expectEnd(outcome)
    return met
  }

/** Changes a byte, or cuts the file off. */
function damage(file: string, random: Random): void {
  const { size } = statSync(file)
  const at = random.integer(size)
  if (random.next() < 0.3) {
    truncateSync(file, at)
    return
  }
  const fd = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, at)
  byte[0] ^= 1 << random.integer(8)
  writeSync(fd, byte, 0, 1, at)
  closeSync(fd)
}

export const faults: Readonly<Record<string, Fault>> = {
  async killed({ start }) {
    const first = start()
    await first.someMoment()
    const met = first.child.kill('SIGKILL')
    await first.ended
    expectEnd(await start().ended)
    return met
  },

  async stopped({ start, random }) {
    const first = start()
    await first.someMoment()
    const met = first.child.kill('SIGSTOP')
    await delay(100 + 900 * random.next())
    first.child.kill('SIGCONT')
    expectEnd(await first.ended)
    return met
  },

  'disk full': brokenDisk(errors.diskFull, /the disk is full/),
  'disk read-only': brokenDisk(errors.readOnly, /read-only/),
  'disk slow': nuisance((random) => ({ delay: Math.round(20_000 * random.next()) })),
  'clock jumps': nuisance((random) => ({ clockShift: Math.round((random.next() - 0.5) * 1e8) })),

  async 'newest checkpoint damaged'({ start, run, random }) {
    const first = start()
    while (run.lastStep() < 7 && first.child.exitCode === null) await delay(5)
    await first.someMoment()
    first.child.kill('SIGKILL')
    await first.ended
    const [newest, older] = listCheckpoints(run.runFolder)
    if (newest) damage(newest.file, random)
    const outcome = await start().ended
    if (older || !newest || outcome.code === 0) {
      expectEnd(outcome)
      return older !== undefined
    }
    expectError(outcome, /step-\d+\.safetensors/)
    rmSync(newest.file)
    expectEnd(await start().ended)
    return true
  },

  async 'data gone'({ start, pack }) {
    const first = start()
    await first.someMoment()
    first.child.kill('SIGKILL')
    await first.ended
    renameSync(pack, `${pack}.away`)
    const outcome = await start().ended
    renameSync(`${pack}.away`, pack)
    expectError(outcome, /shapes-000000/)
    expectEnd(await start().ended)
    return true
  },

  async 'second training'({ start }) {
    const first = start()
    await first.someMoment()
    const second = start()
    const outcomes = await Promise.all([first, second].map(({ ended }) => ended))
    // Which of them came first is open while both start. Where one was over, nothing was left to do for the other.
    const refused = outcomes.findIndex(({ code }) => code === 2)
    const met = refused >= 0
    if (met) expectError(outcomes[refused], new RegExp(`process ${[second, first][refused].child.pid}`))
    expectEnd(outcomes[met ? 1 - refused : 0])
    return met
  },

  async 'memory limit'({ start, random }) {
    const group = MemoryGroup.create(`star-chaos-${process.pid}`, 2 ** (20 + random.integer(6)))
    if (typeof group === 'string') throw new Error(group)
    const first = start()
    await first.someMoment()
    if (first.child.exitCode === null) group.add(first.child.pid!)
    const outcome = await first.ended
    group.remove()
    // The system ends the process where it does not see the limit coming.
    if (outcome.code !== 0 && outcome.code !== null) expectError(outcome, /memory/)
    expectEnd(await start().ended)
    return outcome.code !== 0
  },

  async 'killed while it writes'({ start, run }) {
    const first = start()
    const checkpoints = join(run.runFolder, 'checkpoints')
    const writing = (): boolean =>
      existsSync(checkpoints) && readdirSync(checkpoints).some((name) => name.endsWith('.tmp'))
    while (first.child.exitCode === null && !writing()) await delay(1)
    const met = first.child.kill('SIGKILL')
    await first.ended
    expectEnd(await start().ended)
    return met
  },
}

/** Faults that this machine cannot make, and why. */
export function missingFaults(): ReadonlyMap<string, string> {
  const group = MemoryGroup.create(`star-chaos-${process.pid}`, 2 ** 20)
  if (typeof group === 'string') return new Map([['memory limit', group]])
  group.remove()
  return new Map()
}

export class TrainingChaos {
  readonly #expected: Record<string, string>
  readonly #samples: string

  private constructor(
    private readonly folder: string,
    private readonly library: string,
    private readonly pack: string,
    private readonly milliseconds: number,
    alone: ResumedRun,
  ) {
    this.#expected = alone.tensors()
    this.#samples = JSON.stringify(alone.samples())
  }

  /** Trains a tokenizer, and the transformer that all others are compared with. */
  static async prepare(folder: string): Promise<TrainingChaos> {
    const pack = await writeTinyPack(folder)
    await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 4))
    const own = join(folder, 'alone')
    mkdirSync(own)
    const alone = new ResumedRun(own, TrainingChaos.#config(folder, own, pack))
    const began = performance.now()
    expectEnd(await alone.run())
    return new TrainingChaos(folder, buildDisturb(folder), pack, performance.now() - began, alone)
  }

  static #config(folder: string, own: string, pack: string): Record<string, unknown> {
    return { ...tinyTransformerRun(join(own, 'run'), pack, join(folder, 'tokenizer', 'model'), steps), work }
  }

  /** Trainings with a fault, until it meets one at work. @throws what was violated */
  async round(name: string, number: number, random: Random): Promise<void> {
    for (let times = 1; !(await this.#train(name, join(this.folder, `round-${number}-${times}`), random)); times++)
      if (times === 10) throw new Violation('ten trainings were over before it came')
  }

  async #train(name: string, own: string, random: Random): Promise<boolean> {
    mkdirSync(own)
    const config = TrainingChaos.#config(this.folder, own, this.pack)
    const run = new ResumedRun(own, config)
    const disturbance = new Disturbance(this.library, run.runFolder, join(own, 'page'))
    const running = new Set<ChildProcess>()
    const start = (): Started => {
      const [file, ids] = [join(own, 'config.json'), join(own, 'ids.jsonl')]
      writeFileSync(file, JSON.stringify(config))
      const env = { ...process.env, ...disturbance.env }
      const child = spawn(process.execPath, [worker, file, ids], { stdio: ['ignore', 'ignore', 'pipe'], env })
      running.add(child)
      let stderr = ''
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        stderr += text
      })
      const ended = new Promise<Outcome>((resolve) => child.on('close', (code) => resolve({ code, stderr })))
      void ended.then(() => running.delete(child))
      return {
        child,
        ended,
        someMoment: () => Promise.race([ended.then(() => {}), delay(this.milliseconds * random.next())]),
      }
    }
    let met: boolean
    try {
      met = await faults[name]({ run, random, disturbance, pack: this.pack, start })
      if (JSON.stringify(run.tensors()) !== JSON.stringify(this.#expected))
        throw new Violation('other weights than those of a training that was left alone')
      if (JSON.stringify(run.samples()) !== this.#samples) throw new Violation('other samples')
    } finally {
      for (const child of running) child.kill('SIGKILL')
      disturbance.close()
    }
    rmSync(own, { recursive: true })
    return met
  }
}
