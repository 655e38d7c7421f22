/**
 * The folder of one run: `config.json` (its resolved configuration), `run.json` (what it was made with), `log.txt` (what a
 * person reads), `lock` (who trains there), `checkpoints/`, what the recorder leaves, and at the end `model/` (what `Star.load` opens).
 */
import { join } from 'node:path'
import { fileError, makeFolder, writeFileAtomic } from '../../native/files.js'
import { append } from './recorder.js'

/** The folder of a run; docs/training.md says what is in it. */
export class RunFolder {
  /**
   * @param writes false in the processes of a run that leave its folder to rank 0
   * @throws ERR_FILE when it cannot be made
   * @internal
   */
  constructor(
    /** As the configuration names it. */
    readonly path: string,
    private readonly writes = true,
  ) {
    try {
      makeFolder(path)
    } catch (error) {
      throw fileError('made', path, error)
    }
  }

  /** Path of a file or folder in it. */
  file(...parts: string[]): string {
    return join(this.path, ...parts)
  }

  /** Writes a JSON file, by rename, so that a reader never sees half of it. */
  writeJson(name: string, value: unknown): void {
    if (this.writes) writeFileAtomic(this.file(name), Buffer.from(`${JSON.stringify(value, null, 2)}\n`))
  }

  /** Adds one line with the time in front to log.txt. */
  log(line: string): void {
    if (this.writes) append(this.file('log.txt'), `${new Date().toISOString()} ${line}`)
  }
}
