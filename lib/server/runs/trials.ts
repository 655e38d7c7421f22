/** Models of runs that are still being trained, to be tried: the newest checkpoint, written as a model folder for a while. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { receivedError, type SentError } from '../../engine/messages.js'
import { StarError } from '../../native/error.js'
import { listCheckpoints } from '../../train/checkpoint/checkpointer.js'
import type { ModelPool, PooledModel } from '../draw/pool.js'
import { HttpError } from '../http/errors.js'
import type { ExportInput } from './export-thread.js'
import type { RunView } from './run-view.js'

const refused = (message: string): HttpError => new HttpError(409, message, { code: 'no_model' })

export class Trials {
  #folder: string | null = null
  readonly #known = new Map<string, Promise<PooledModel>>()

  constructor(private readonly pool: ModelPool) {}

  /**
   * The model of a run's newest checkpoint, under a name that says its step.
   * @throws 409 where the run draws nothing, or has no checkpoint yet
   */
  async model(run: RunView): Promise<PooledModel> {
    if (!run.summary().draws) throw refused('a tokenizer draws nothing by itself: try a run of a transformer')
    const found = existsSync(join(run.folder, 'checkpoints')) ? listCheckpoints(run.folder) : []
    if (found.length === 0) throw refused(`${run.name} has no checkpoint yet: try it after the first was written`)
    const step = Math.max(...found.map((checkpoint) => checkpoint.step))
    const name = `${run.name.replaceAll('/', '-')}-step-${step}`
    const known = this.#known.get(name)
    if (known) return known
    const made = this.#export(run.folder, name)
    this.#known.set(name, made)
    // The next click tries again.
    made.catch(() => this.#known.delete(name))
    return made
  }

  async #export(runFolder: string, name: string): Promise<PooledModel> {
    this.#folder ??= mkdtempSync(join(tmpdir(), 'star-watch-'))
    const out = join(this.#folder, name)
    const thread = new Worker(new URL('./export-thread.js', import.meta.url), {
      workerData: { runFolder, out } satisfies ExportInput,
      execArgv: [],
      env: process.env,
    })
    try {
      await new Promise<void>((resolve, reject) => {
        thread.once('message', (error: SentError | null) => (error ? reject(receivedError(error)) : resolve()))
        thread.once('error', reject)
      })
    } catch (error) {
      if (error instanceof StarError) throw refused(error.message)
      throw error
    } finally {
      await thread.terminate()
    }
    return this.pool.add(out, name)
  }

  close(): void {
    if (this.#folder) rmSync(this.#folder, { recursive: true, force: true })
  }
}
