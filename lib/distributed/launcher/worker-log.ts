/** Where the output of a worker goes: its log file, the console, and a short memory for the report of a failure. */
import { createWriteStream, type WriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { makeFolder } from '../../native/files.js'

/** Lines of standard error that a failure report repeats. */
const rememberedLines = 20
const longestLine = 2000

export interface LogTarget {
  /** File that takes everything, or null. */
  file: string | null
  /** Whether the console shows it. */
  console: boolean
  /** Put before each line on the console. */
  prefix: string
}

export class WorkerLog {
  readonly #lines: string[] = []
  readonly #file: WriteStream | null
  #rest = ''
  #ended: Promise<void>

  constructor(stream: Readable, out: Writable, { file, console: shown, prefix }: LogTarget) {
    this.#file = file === null ? null : createWriteStream(file, { flags: 'a' })
    // A full disk must not end the training: the console says that the log stops here.
    this.#file?.on('error', (error) => out.write(`star launch: ${file} is not written any more: ${error.message}\n`))
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => {
      if (this.#file?.writable) this.#file.write(text)
      this.#rest += text
      const lines = this.#rest.split('\n')
      this.#rest = lines.pop()!.slice(-longestLine)
      for (const line of lines) this.#line(line, shown ? out : null, prefix)
    })
    this.#ended = new Promise((resolve) => {
      stream.on('close', () => {
        if (this.#rest !== '') this.#line(this.#rest, shown ? out : null, prefix)
        this.#rest = ''
        if (this.#file?.writable) this.#file.end(() => resolve())
        else resolve()
      })
    })
  }

  #line(line: string, out: Writable | null, prefix: string): void {
    this.#lines.push(line.slice(0, longestLine))
    if (this.#lines.length > rememberedLines) this.#lines.shift()
    out?.write(`${prefix}${line}\n`)
  }

  /** Adds a line of our own. */
  note(line: string): void {
    this.#lines.push(line)
  }

  /** The last lines. */
  get tail(): string {
    return this.#lines.join('\n').trim()
  }

  /** Resolves when the stream has ended and the file is written. */
  get ended(): Promise<void> {
    return this.#ended
  }
}

/** `FOLDER/attempt-A/rank-R.out.log` and `.err.log`, in a folder that exists. */
export function logFiles(folder: string, attempt: number, rank: number): { stdout: string; stderr: string } {
  const here = join(folder, `attempt-${attempt}`)
  makeFolder(here)
  return { stdout: join(here, `rank-${rank}.out.log`), stderr: join(here, `rank-${rank}.err.log`) }
}
