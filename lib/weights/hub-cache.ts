/**
 * The cache folder that all libraries of Hugging Face share: blobs by their hash, and for each commit a folder of links to
 * them. `models--ORG--NAME/{blobs/HASH, snapshots/COMMIT/PATH, refs/REVISION}`.
 */
import { createHash } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { writeFileAtomic } from '../native/files.js'
import { StarError } from '../native/index.js'

const lockPause = 500
/** A lock whose owner has written nothing for so long, in milliseconds, is left over. */
const lockLife = 600_000

/** Whether the process that wrote a lock is at work still: it is there, as far as can be told, and writes. */
function alive(lock: string, partial: string): boolean {
  const touched = Math.max(...[lock, partial].map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0))
  if (Date.now() - touched > lockLife) return false
  try {
    const [pid, host] = readFileSync(lock, 'utf8').split(' ')
    if (host === hostname()) process.kill(Number(pid), 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

export class RepoCache {
  readonly #folder: string

  constructor(cacheDir: string, id: string) {
    this.#folder = join(cacheDir, `models--${id.replace('/', '--')}`)
  }

  snapshot(commit: string): string {
    return join(this.#folder, 'snapshots', commit)
  }

  /** Path of a file in a snapshot; it exists once the file is whole. */
  file(commit: string, path: string): string {
    return join(this.snapshot(commit), ...path.split('/'))
  }

  /** The commit that a branch or tag was when it was last looked up, or undefined. */
  commitOf(revision: string): string | undefined {
    const file = join(this.#folder, 'refs', ...revision.split('/'))
    if (existsSync(file)) return readFileSync(file, 'utf8').trim()
    return existsSync(this.snapshot(revision)) ? revision : undefined
  }

  saveCommit(revision: string, commit: string): void {
    if (revision !== commit) writeFileAtomic(join(this.#folder, 'refs', ...revision.split('/')), commit)
  }

  /** Paths of the files of a snapshot. */
  files(commit: string): string[] {
    const root = this.snapshot(commit)
    if (!existsSync(root)) return []
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).split('\\').join('/'))
      .filter((path) => existsSync(this.file(commit, path)))
  }

  blob(hash: string): string {
    return join(this.#folder, 'blobs', hash)
  }

  /** A blob that is not whole yet. */
  partial(hash: string): string {
    return `${this.blob(hash)}.incomplete`
  }

  /** Puts a blob where a snapshot has it: a link, or a copy where the file system has none. */
  link(commit: string, path: string, hash: string): string {
    const file = this.file(commit, path)
    mkdirSync(dirname(file), { recursive: true })
    rmSync(file, { force: true })
    try {
      symlinkSync(relative(dirname(file), this.blob(hash)), file)
    } catch {
      copyFileSync(this.blob(hash), file)
    }
    return file
  }

  /** Runs `work` while no other process that asks for the same blob does; the first one's result is there for the others. */
  async locked<T>(hash: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const lock = `${this.blob(hash)}.lock`
    mkdirSync(dirname(lock), { recursive: true })
    for (;;) {
      try {
        const fd = openSync(lock, 'wx')
        writeSync(fd, `${process.pid} ${hostname()}`)
        closeSync(fd)
        break
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
        if (alive(lock, this.partial(hash))) await setTimeout(lockPause, undefined, { signal })
        else rmSync(lock, { force: true })
      }
    }
    try {
      return await work()
    } finally {
      rmSync(lock, { force: true })
    }
  }
}

export const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

/**
 * Takes a complete download into the cache after checking it against its hash: SHA-256 of large files, and git's SHA-1 of
 * its header and the content of small ones.
 * @throws ERR_FILE when it is another file; the download is removed
 */
export async function acceptBlob(download: string, blob: string, hash: string): Promise<void> {
  const digest = createHash(hash.length === 64 ? 'sha256' : 'sha1')
  if (hash.length !== 64) digest.update(`blob ${sizeOf(download)}\0`)
  for await (const part of createReadStream(download)) digest.update(part)
  const found = digest.digest('hex')
  if (found !== hash) {
    rmSync(download, { force: true })
    throw new StarError(
      'ERR_FILE',
      `what was downloaded has the hash ${found}, expected ${hash}: the connection or the cache damaged it; run this again`,
    )
  }
  renameSync(download, blob)
}
