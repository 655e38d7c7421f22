/** `run.json`: what a run was made with, so that a folder found later explains itself. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { arch, platform } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../../native/index.js'
import type { DataConfig } from '../config/data.js'

export interface RunFacts {
  version: string
  /** Commit of the clone that runs; null for an installed package. */
  commit: string | null
  node: string
  platform: string
  device: string
  /** Number of processes. */
  processes: number
  /** Changes when a file of the data is another one. */
  dataFingerprint: string
  /** Of this start of the run. */
  started: string
}

/** Of the code that runs, read once: what is committed later is not what this process has loaded. */
let ownCommit: string | null | undefined

export function runFacts(data: DataConfig, device: string, processes: number): RunFacts {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  if (ownCommit === undefined) ownCommit = commitOf(packageRoot)
  return {
    version,
    commit: ownCommit,
    node: process.version,
    platform: `${platform()}-${arch()}`,
    device,
    processes,
    dataFingerprint: fingerprint(data),
    started: new Date().toISOString(),
  }
}

/** Of the clone whose root a folder is; null for a folder inside another repository, where packages are installed. */
export function commitOf(folder: string): string | null {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', ['-C', folder, ...args], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim()
    if (git('rev-parse', '--show-toplevel') !== realpathSync(folder)) return null
    return (
      git('rev-parse', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes')
    )
  } catch {
    // No clone, or no git.
    return null
  }
}

/** SHA-256 over names and sizes of the data's files and the content of the info files, which list every image. */
function fingerprint({ packs, heldOutPacks, tars, heldOutTars }: DataConfig): string {
  const hash = createHash('sha256')
  for (const [kind, paths] of Object.entries({ packs, heldOutPacks, tars, heldOutTars }))
    for (const path of paths ?? [])
      for (const file of files(path)) {
        hash.update(`${kind}\0${file}\0${statSync(file).size}\0`)
        if (file.endsWith('-info.json')) hash.update(readFileSync(file))
      }
  return hash.digest('hex').slice(0, 16)
}

/** The file itself and what stands beside it under its name, or the files of a folder. */
function files(path: string): string[] {
  const info = statSync(path, { throwIfNoEntry: false })
  if (info?.isDirectory())
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => join(path, name))
      .sort()
  return [path, `${path}-info.json`].filter((file) => existsSync(file))
}
