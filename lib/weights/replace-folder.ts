/** Folders of files that belong together, which take the place of what was there as a whole. */
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { fileError, makeFolder } from '../native/files.js'

/**
 * Writes a folder. All files are written into a folder beside it, which then takes its place, so that a reader finds the old
 * files or the new ones, and after an error (a full disk, say) the old ones are untouched.
 * @param fill writes the files into the folder it is given
 * @throws ERR_FILE when it cannot be written
 */
export function replaceFolder(folder: string, fill: (beside: string) => void): void {
  const target = resolve(folder)
  const parent = dirname(target)
  let beside: string | null = null
  try {
    makeFolder(parent)
    beside = mkdtempSync(join(parent, `.${basename(target)}-`))
    // mkdtemp makes a folder for its user alone; a model is as readable as any other file.
    chmodSync(beside, 0o777 & ~process.umask())
    fill(beside)
    const old = `${beside}.old`
    if (existsSync(target)) renameSync(target, old)
    renameSync(beside, target)
    beside = null
    rmSync(old, { recursive: true, force: true })
  } catch (error) {
    throw fileError('written', folder, error)
  } finally {
    if (beside) rmSync(beside, { recursive: true, force: true })
  }
}
