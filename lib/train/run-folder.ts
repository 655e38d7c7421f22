/**
 * The folder of one run: its resolved configuration, `metrics.jsonl` (a line a logged step), `log.txt` (what a person
 * reads), `checkpoints/step-N.safetensors` and, at the end, `model/` (what `Star.load` opens).
 */
import { appendFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileError, makeFolder, writeFileAtomic } from '../native/files.js'

const checkpointName = /^step-(\d+)\.safetensors$/

export class RunFolder {
  constructor(readonly path: string) {
    makeFolder(join(path, 'checkpoints'))
  }

  file(...parts: string[]): string {
    return join(this.path, ...parts)
  }

  /** Writes `config.json`, by rename, so that a reader never sees half of it. */
  writeConfig(config: unknown): void {
    writeFileAtomic(this.file('config.json'), Buffer.from(`${JSON.stringify(config, null, 2)}\n`))
  }

  /** Adds one line to metrics.jsonl. */
  metrics(values: Record<string, number>): void {
    this.#append('metrics.jsonl', JSON.stringify(values))
  }

  /** Adds one line with the time in front to log.txt. */
  log(line: string): void {
    this.#append('log.txt', `${new Date().toISOString()} ${line}`)
  }

  #append(name: string, line: string): void {
    try {
      appendFileSync(this.file(name), `${line}\n`)
    } catch (error) {
      throw fileError('written', this.file(name), error)
    }
  }

  /** Steps that have a checkpoint, newest first. */
  checkpoints(): { step: number; file: string }[] {
    return readdirSync(this.file('checkpoints'))
      .map((name) => ({ match: checkpointName.exec(name), file: this.file('checkpoints', name) }))
      .filter(({ match }) => match !== null)
      .map(({ match, file }) => ({ step: Number(match![1]), file }))
      .sort((a, b) => b.step - a.step)
  }

  checkpointFile(step: number): string {
    return this.file('checkpoints', `step-${step}.safetensors`)
  }

  /** Removes all but the newest `keep` checkpoints. */
  prune(keep: number): void {
    for (const { file } of this.checkpoints().slice(keep)) rmSync(file)
  }
}
