/**
 * The folder of one run: its resolved configuration, `metrics.jsonl` (a line a logged step), `log.txt` (what a person
 * reads), `checkpoints/step-N.safetensors` and, at the end, `model/` (what `Star.load` opens).
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { StarError } from '../native/index.js'

const checkpointName = /^step-(\d+)\.safetensors$/

export class RunFolder {
  constructor(readonly path: string) {
    try {
      mkdirSync(join(path, 'checkpoints'), { recursive: true })
    } catch (error) {
      throw new StarError('ERR_FILE', `cannot make the run folder ${path}: ${(error as Error).message}; choose another "runFolder"`, { cause: error })
    }
  }

  file(...parts: string[]): string {
    return join(this.path, ...parts)
  }

  /** Writes `config.json`, by rename, so that a reader never sees half of it. */
  writeConfig(config: unknown): void {
    this.writeJson('config.json', config)
  }

  writeJson(name: string, value: unknown): void {
    const target = this.file(name)
    writeFileSync(`${target}.tmp`, `${JSON.stringify(value, null, 2)}\n`)
    renameSync(`${target}.tmp`, target)
  }

  /** The configuration that an earlier start of this run wrote, or null. */
  readConfig(): unknown {
    const file = this.file('config.json')
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null
  }

  /** Adds one line to metrics.jsonl. */
  metrics(values: Record<string, number>): void {
    appendFileSync(this.file('metrics.jsonl'), `${JSON.stringify(values)}\n`)
  }

  /** Adds one line with the time in front to log.txt. */
  log(line: string): void {
    appendFileSync(this.file('log.txt'), `${new Date().toISOString()} ${line}\n`)
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
