/**
 * The checkpoints of a run: `checkpoints/step-N.safetensors`, written by a thread while training goes on, of which the
 * newest and the best are kept.
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { makeFolder } from '../native/files.js'
import { type ErrorCode, StarError } from '../native/index.js'
import type { Tensor } from '../tensor/index.js'
import type { ThreadInput, ThreadOutput } from './checkpoint-thread.js'

export interface CheckpointFile {
  step: number
  file: string
}

/** Everything that goes into a checkpoint. */
export interface CheckpointContent {
  tensors: Iterable<readonly [string, Tensor]>
  metadata: Record<string, string>
}

const checkpointName = /^step-(\d+)\.safetensors$/

/** Checkpoints of a run folder, newest first. */
export function listCheckpoints(runFolder: string): CheckpointFile[] {
  const folder = join(runFolder, 'checkpoints')
  return readdirSync(folder)
    .map((name) => ({ match: checkpointName.exec(name), file: join(folder, name) }))
    .filter(({ match }) => match !== null)
    .map(({ match, file }) => ({ step: Number(match![1]), file }))
    .sort((a, b) => b.step - a.step)
}

export class Checkpointer {
  readonly #folder: string
  #writing: Promise<void> = Promise.resolve()

  /** @param keep number of newest checkpoints that stay */
  constructor(
    private readonly runFolder: string,
    private readonly keep: number,
  ) {
    this.#folder = join(runFolder, 'checkpoints')
    makeFolder(this.#folder)
    // What a process that was killed has left half-written.
    for (const name of readdirSync(this.#folder)) if (/^\.step-.*\.tmp$/.test(name)) rmSync(join(this.#folder, name))
  }

  list(): CheckpointFile[] {
    return listCheckpoints(this.runFolder)
  }

  file(step: number): string {
    return join(this.#folder, `step-${step}.safetensors`)
  }

  /**
   * Copies the content to the host's memory, waits for the checkpoint before it, and writes it in a thread.
   * @param best a step whose checkpoint stays whatever its age
   * @throws ERR_FILE when the checkpoint before it could not be written
   */
  async save(step: number, { tensors, metadata }: CheckpointContent, best: number | null): Promise<void> {
    const input: ThreadInput = {
      file: this.file(step),
      tensors: Array.from(tensors, ([name, tensor]) => ({
        name,
        dtype: tensor.dtype,
        shape: tensor.shape,
        data: tensor.handle.read(),
      })),
      metadata,
    }
    await this.settled()
    this.#writing = write(input).then(() => this.#prune(best))
    // Who waits for it is told; until then it is no unhandled rejection.
    this.#writing.catch(() => {})
  }

  /** Resolves when nothing is being written. @throws ERR_FILE when the last checkpoint could not be written */
  async settled(): Promise<void> {
    const writing = this.#writing
    this.#writing = Promise.resolve()
    await writing
  }

  #prune(best: number | null): void {
    for (const { file, step } of this.list().slice(this.keep)) if (step !== best) rmSync(file, { force: true })
  }
}

function write(input: ThreadInput): Promise<void> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL('./checkpoint-thread.js', import.meta.url), {
      workerData: input,
      transferList: input.tensors.map(({ data }) => data),
    })
    const fail = (message: string) => reject(new StarError('ERR_INTERNAL', `${input.file} was not written: ${message}`))
    let told = false
    thread.on('message', (output: ThreadOutput) => {
      told = true
      if (output) reject(new StarError(output.code as ErrorCode, output.message))
      else resolve()
    })
    thread.on('error', (error) => fail(String(error)))
    thread.on('exit', (code) => told || fail(`its thread ended with code ${code}`))
  })
}
