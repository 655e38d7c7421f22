/** Files that are whole or not there: written beside their place under a name of their own, then renamed. */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { StarError } from './error.js'

const remedies: Record<string, string> = {
  ENOSPC: 'the disk is full: free space or write elsewhere',
  EDQUOT: 'the disk quota is used up: free space or write elsewhere',
  EFBIG: 'the file is larger than this file system or the process limit allows: write elsewhere',
  EACCES: 'permission denied: choose a folder you may write to, or change its permissions',
  EPERM: 'permission denied: choose a folder you may write to, or change its permissions',
  EROFS: 'the file system is read-only: write elsewhere',
  ENOENT: 'a folder on the way does not exist: check the path',
  ENOTDIR: 'a part of the path is a file, not a folder: check the path',
  EISDIR: 'the path is a folder: give the path of a file',
  ENAMETOOLONG: 'the name is too long: choose a shorter one',
  EMFILE: 'too many files are open: raise the limit (ulimit -n)',
  EIO: 'the device reported an error: check the disk',
}

/** A StarError ERR_FILE for a failed system call on `file`; other errors are handed back as they are. */
export function fileError(action: string, file: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof StarError || !('code' in error)) return error
  const code = String(error.code)
  const missing = code === 'ENOENT' && action === 'read'
  const reason = missing ? 'there is no such file: check the path' : (remedies[code] ?? error.message)
  return new StarError('ERR_FILE', `${file} cannot be ${action}: ${reason} (${code})`, { cause: error })
}

/** Writes all of `data` at the descriptor's position, in pieces a system call can take. */
export function writeAll(fd: number, data: Uint8Array): void {
  const piece = 1 << 28
  for (let start = 0; start < data.byteLength; )
    start += writeSync(fd, data, start, Math.min(piece, data.byteLength - start))
}

function flushFolder(folder: string): void {
  // Makes the rename last through a power cut; some file systems refuse to sync a folder, which loses nothing else.
  try {
    const fd = openSync(folder, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch {}
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined)

/**
 * Makes a folder and those above it that are missing. (Node's recursive mkdir never returns where the system answers
 * ENOENT below a folder that exists, as in /proc.)
 */
export function makeFolder(folder: string): void {
  const make = (): unknown => {
    try {
      mkdirSync(folder)
      return null
    } catch (error) {
      return codeOf(error) === 'EEXIST' && statSync(folder).isDirectory() ? null : error
    }
  }
  let failure = make()
  if (codeOf(failure) === 'ENOENT' && dirname(folder) !== folder) {
    makeFolder(dirname(folder))
    failure = make()
  }
  if (failure) throw failure
}

/** Where the bytes of `file` are to go: the file a link points to; anything but a regular file is refused. */
function targetOf(file: string): string {
  let target = file
  try {
    target = realpathSync(file)
    if (!statSync(target).isFile())
      throw new StarError('ERR_FILE', `${file} is not a regular file: give the path of a file to write`)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  return target
}

/** A path beside `file` that no other file has. */
function besideName(file: string): string {
  return join(dirname(file), `.${basename(file).slice(0, 200)}.${process.pid}-${randomBytes(6).toString('hex')}.tmp`)
}

/**
 * Calls `write(path)` with a path beside `file`, then renames what it wrote to `file`. Missing folders are made. If
 * anything fails, the new file is removed and a file that was there before is untouched.
 * @throws ERR_FILE with the reason and the remedy
 */
export async function replaceFile(file: string, write: (path: string) => Promise<void> | void): Promise<void> {
  let path: string | null = null
  try {
    const target = targetOf(file)
    makeFolder(dirname(target))
    path = besideName(target)
    await write(path)
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
    renameSync(path, target)
    path = null
    flushFolder(dirname(target))
  } catch (error) {
    // What the native writers say names the file they were given.
    if (path && error instanceof StarError && error.message.includes(path))
      throw new StarError(error.code, error.message.replaceAll(path, file), { cause: error })
    throw fileError('written', file, error)
  } finally {
    if (path) rmSync(path, { force: true })
  }
}

/**
 * Writes `file` whole or not at all: `write` fills a descriptor of a new file beside it (see `writeAll`), which is synced
 * and renamed to `file`. Missing folders are made. If anything fails, the new file is removed and a file that was there
 * before is untouched.
 * @throws ERR_FILE with the reason (disk full, permission, a folder in the way) and the remedy
 */
export function writeFileAtomic(file: string, write: ((fd: number) => void) | Uint8Array | string): void {
  let path: string | null = null
  try {
    const target = targetOf(file)
    makeFolder(dirname(target))
    path = besideName(target)
    const fd = openSync(path, 'wx')
    try {
      if (typeof write === 'function') write(fd)
      else writeAll(fd, typeof write === 'string' ? Buffer.from(write) : write)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(path, target)
    path = null
    flushFolder(dirname(target))
  } catch (error) {
    throw fileError('written', file, error)
  } finally {
    if (path) rmSync(path, { force: true })
  }
}
