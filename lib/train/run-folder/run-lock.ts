/** The lock of a run folder: one training at a time writes there. It names its owner, and an owner that is gone holds nothing. */
import { createHash } from 'node:crypto'
import { readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { z } from 'zod'
import { fileError } from '../../native/files.js'
import { StarError } from '../../native/index.js'

const ownerSchema = z.object({
  pid: z.int().positive(),
  host: z.string(),
  /** When the lock was taken, ISO 8601. */
  since: z.string(),
  /** Of the machine's running system and of the process in it, where the system tells: numbers of processes are given again. */
  boot: z.string().nullable(),
  born: z.string().nullable(),
  /** Digest of the launcher's name for the job: one that was restarted takes over from itself. */
  job: z.string().nullable(),
})
type Owner = z.output<typeof ownerSchema>

/** A lock of another machine whose owner did not touch it for so long is taken for abandoned. */
const abandonedAfter = 600_000
const touchedEvery = 60_000

function systemText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    // Other systems than Linux have no such files.
    return null
  }
}

/** Clock ticks between the start of the system and that of the process: field 22, behind a name that may hold anything. */
const birthOf = (pid: number): string | null =>
  systemText(`/proc/${pid}/stat`)
    ?.replace(/^.*\) /s, '')
    .split(' ')[19] ?? null

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // A process of another user may not be asked, but is there.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function isGone(owner: Owner, own: Owner, touched: number): boolean {
  const isOwn = owner.host === own.host && owner.boot === own.boot && owner.pid === own.pid
  // Its launcher has ended what it replaces, or does so at this moment.
  if (owner.job !== null && owner.job === own.job && !isOwn) return true
  if (owner.host !== own.host) return Date.now() - touched > abandonedAfter
  return owner.boot !== own.boot || !isAlive(owner.pid) || birthOf(owner.pid) !== owner.born
}

const parsed = (text: string): Owner | null => {
  try {
    return ownerSchema.parse(JSON.parse(text))
  } catch {
    // Another process writes it at this moment, or was killed as it did.
    return null
  }
}

export class RunLock {
  readonly #timer: NodeJS.Timeout

  private constructor(
    private readonly file: string,
    private readonly text: string,
  ) {
    this.#timer = setInterval(() => {
      const now = new Date()
      try {
        if (readFileSync(file, 'utf8') === text) utimesSync(file, now, now)
      } catch {
        // The folder was moved or removed; what is written there next tells it.
      }
    }, touchedEvery)
    this.#timer.unref()
  }

  /**
   * @param file of the lock
   * @param folder that it locks, for messages
   * @param job the launcher's name for it; '' without one
   * @throws ERR_BUSY naming the process that holds it; ERR_FILE where no file can be written
   */
  static take(file: string, folder: string, job = ''): RunLock {
    const { pid } = process
    const boot = systemText('/proc/sys/kernel/random/boot_id')
    const own: Owner = {
      ...{ pid, host: hostname(), since: new Date().toISOString(), boot, born: birthOf(pid) },
      job: job === '' ? null : createHash('sha256').update(job).digest('hex'),
    }
    const text = `${JSON.stringify(own)}\n`
    for (;;) {
      try {
        writeFileSync(file, text, { flag: 'wx' })
        return new RunLock(file, text)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError('written', file, error)
      }
      const found = RunLock.#read(file)
      if (!found) continue
      const owner = parsed(found.text)
      if (owner ? !isGone(owner, own, found.touched) : Date.now() - found.touched < touchedEvery)
        throw new StarError(
          'ERR_BUSY',
          `${folder} is being trained by ${owner ? `process ${owner.pid} on ${owner.host} since ${owner.since}` : 'another process'}: ` +
            'stop it first, or name another "runFolder"',
        )
      RunLock.#remove(file, found.text)
    }
  }

  static #read(file: string): { text: string; touched: number } | null {
    try {
      return { text: readFileSync(file, 'utf8'), touched: statSync(file).mtimeMs }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw fileError('read', file, error)
    }
  }

  /** Removes an abandoned lock, but not one that another process has put in its place meanwhile. */
  static #remove(file: string, text: string): void {
    const aside = `${file}.${process.pid}`
    try {
      renameSync(file, aside)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      throw fileError('removed', file, error)
    }
    if (readFileSync(aside, 'utf8') === text) rmSync(aside)
    else renameSync(aside, file)
  }

  release(): void {
    clearInterval(this.#timer)
    if (RunLock.#read(this.file)?.text === this.text) rmSync(this.file, { force: true })
  }
}
