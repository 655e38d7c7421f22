/**
 * The checkpoints of a run: `checkpoints/step-N.safetensors`, written by a thread while training continues, of which the
 * newest and the best are kept. Of a sharded run the other processes' shards lie beside it, `step-N.shard-R.safetensors`;
 * rank 0 writes its own when all of those are there, so that a checkpoint with this file is whole.
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ProcessGroup } from '../../distributed/index.js'
import { makeFolder } from '../../native/files.js'
import { type ErrorCode, StarError } from '../../native/index.js'
import type { Tensor } from '../../tensor/index.js'
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
const shardName = /^step-(\d+)\.shard-\d+\.safetensors$/

/** Where the shard of rank `shard` lies of a checkpoint. */
export const shardFile = (file: string, shard: number): string =>
  file.replace(/\.safetensors$/, `.shard-${shard}.safetensors`)

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
  #saves = 0

  /**
   * @param keep number of newest checkpoints that stay
   * @param group the processes of the run, of which rank 0 writes, or, sharded, each its shard
   */
  constructor(
    private readonly runFolder: string,
    private readonly keep: number,
    private readonly group: ProcessGroup,
    private readonly sharded: boolean,
  ) {
    this.#folder = join(runFolder, 'checkpoints')
    makeFolder(this.#folder)
    // What a process that was killed has left half-written.
    if (group.rank === 0) this.#removeRemains()
  }

  #removeRemains(): void {
    for (const name of readdirSync(this.#folder)) if (/^\.step-.*\.tmp$/.test(name)) rmSync(join(this.#folder, name))
  }

  list(): CheckpointFile[] {
    return listCheckpoints(this.runFolder)
  }

  file(step: number): string {
    return join(this.#folder, `step-${step}.safetensors`)
  }

  /**
   * Copies the content to the host's memory, waits for the checkpoint before it, and writes it in a thread. Every process of
   * the run calls it.
   * @param best a step whose checkpoint stays whatever its age
   * @throws ERR_FILE when the checkpoint before it could not be written
   */
  async save(step: number, { tensors, metadata }: CheckpointContent, best: number | null): Promise<void> {
    const { rank } = this.group
    if (rank > 0 && !this.sharded) return
    const input: ThreadInput = {
      file: rank === 0 ? this.file(step) : shardFile(this.file(step), rank),
      tensors: Array.from(tensors, ([name, tensor]) => ({
        name,
        dtype: tensor.dtype,
        shape: tensor.shape,
        data: tensor.handle.read(),
      })),
      metadata,
    }
    await this.settled()
    this.#writing = this.sharded ? this.#writeShard(input, best) : write(input).then(() => this.#prune(best))
    // Who waits for it is told; until then it is no unhandled rejection.
    this.#writing.catch(() => {})
  }

  /** Resolves when nothing is being written. @throws ERR_FILE when the last checkpoint could not be written */
  async settled(): Promise<void> {
    const writing = this.#writing
    this.#writing = Promise.resolve()
    await writing
  }

  /** Rank 0 writes last: its file makes the checkpoint whole. */
  async #writeShard(input: ThreadInput, best: number | null): Promise<void> {
    const { rank, size, store } = this.group
    const key = (of: number): string => `checkpoint/${this.#saves}/${of}`
    this.#saves += 1
    if (rank > 0) {
      const said = key(rank)
      try {
        await write(input)
        store.set(said, '')
      } catch (error) {
        store.set(said, error instanceof Error ? error.message : String(error))
        throw error
      }
      return
    }
    const others = Array.from({ length: size - 1 }, (_, i) => key(i + 1))
    for (const [i, said] of others.entries()) {
      const fault = await store.get(said)
      if (fault) throw new StarError('ERR_FILE', `rank ${i + 1} could not write its shard: ${fault}`)
    }
    await write(input)
    this.#prune(best)
  }

  #prune(best: number | null): void {
    const kept = new Set<number>()
    this.list().forEach(({ file, step }, i) => {
      if (i < this.keep || step === best) kept.add(step)
      else rmSync(file, { force: true })
    })
    const newest = Math.max(...kept)
    for (const name of readdirSync(this.#folder)) {
      const step = Number(shardName.exec(name)?.[1] ?? Number.NaN)
      // Of a newer checkpoint that is being written there may be shards already.
      if (step <= newest && !kept.has(step)) rmSync(join(this.#folder, name), { force: true })
    }
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
