/** Trainings that are killed and started again, compared with one that was left alone. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { listCheckpoints } from '../../lib/train/checkpoint/checkpointer.js'
import { readSafetensors } from '../../lib/weights/index.js'

const worker = fileURLToPath(new URL('./resume-worker.js', import.meta.url))

/** When a process is killed: after so many milliseconds, or as soon as a checkpoint is being written after so many steps. */
export type Moment = { after: number } | { writingAfterStep: number }

export interface Outcome {
  /** Exit code; null for a process that was killed. */
  code: number | null
  stderr: string
}

export class ResumedRun {
  readonly #config: string
  readonly #ids: string
  readonly runFolder: string

  constructor(folder: string, config: Record<string, unknown>) {
    this.runFolder = config.runFolder as string
    this.#config = join(folder, 'config.json')
    this.#ids = join(folder, 'ids.jsonl')
    writeFileSync(this.#config, JSON.stringify(config))
  }

  /** Runs until the end, or until the moment at which it is killed. */
  async run(kill?: Moment, wrapper: readonly string[] = []): Promise<Outcome> {
    const [program, ...args] = [...wrapper, process.execPath, worker, this.#config, this.#ids]
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    let ended = false
    const end = new Promise<Outcome>((resolve) =>
      child.on('close', (code) => {
        ended = true
        resolve({ code, stderr })
      }),
    )
    if (kill && 'after' in kill) {
      await Promise.race([end, delay(kill.after)])
    } else if (kill) {
      while (!ended && !(this.lastStep() >= kill.writingAfterStep && this.#writing())) await delay(1)
    }
    if (kill) child.kill('SIGKILL')
    return end
  }

  /** Whether half a checkpoint lies there. */
  #writing(): boolean {
    const folder = join(this.runFolder, 'checkpoints')
    return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.tmp'))
  }

  /** Samples of each step, those of a step that was taken again once; an error where they differ between the times. */
  samples(): string[][] {
    const steps: string[][] = []
    for (const { step, ids } of this.#lines()) {
      const before = steps[step - 1]
      if (before && before.join() !== ids.join())
        throw new Error(`step ${step} took ${before.join(' ')}, and when it was taken again ${ids.join(' ')}`)
      steps[step - 1] = ids
    }
    return steps
  }

  lastStep(): number {
    return this.#lines().reduce((most, { step }) => Math.max(most, step), 0)
  }

  #lines(): { step: number; ids: string[] }[] {
    if (!existsSync(this.#ids)) return []
    return readFileSync(this.#ids, 'utf8')
      .split('\n')
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as { step: number; ids: string[] }]
        } catch {
          // The line at which the process was killed.
          return []
        }
      })
  }

  /** SHA-256 of every tensor of the newest checkpoint: weights, optimizer, averages. */
  tensors(): Record<string, string> {
    const { tensors } = readSafetensors(listCheckpoints(this.runFolder)[0].file)
    return Object.fromEntries(
      [...tensors].map(([name, { handle }]) => [
        name,
        createHash('sha256').update(new Uint8Array(handle.read())).digest('hex'),
      ]),
    )
  }

  /** Values of metrics.jsonl that do not depend on time. */
  metrics(): Record<string, unknown>[] {
    return readFileSync(join(this.runFolder, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => {
        const { samplesPerSecond: _, ...values } = JSON.parse(line) as Record<string, unknown>
        return values
      })
  }

  clear(): void {
    rmSync(this.runFolder, { recursive: true, force: true })
    rmSync(this.#ids, { force: true })
  }
}

/** Checks that every epoch of `count` images has every image once; gives the first fault, or null. */
export function epochFault(samples: readonly (readonly string[])[], count: number): string | null {
  const order = samples.flat()
  for (let begin = 0; begin + count <= order.length; begin += count) {
    const epoch = new Set(order.slice(begin, begin + count))
    if (epoch.size !== count) return `epoch ${begin / count} has ${epoch.size} of ${count} images`
  }
  return null
}
