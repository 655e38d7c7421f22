/** Reads every record of packs and tells which are damaged. */
import { existsSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { StarError } from '../native/index.js'
import { findPacks } from './dataset.js'
import { openPack, type Pack } from './pack.js'
import { readPackReport, sha256Of } from './packer.js'
import { decodeImage } from './preprocess.js'

export interface VerifyOptions {
  /** Images worked on at once. Default: twice the number of processor cores. */
  workers?: number
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

export interface PackFindings {
  pack: string
  /** Records of the pack. */
  images: number
  /** Records that are damaged; 1 for a pack that cannot be opened. */
  bad: number
  /** What is wrong, the first hundred. */
  problems: string[]
}

const mostProblems = 100

/** What is wrong with a record, or null. */
async function recordProblem(pack: Pack, key: string): Promise<string | null> {
  const name = `image ${JSON.stringify(key)} of ${pack.path}`
  try {
    const info = pack.info(key)
    const { width, height } = await decodeImage(await pack.read(key), name)
    if (width === info.width && height === info.height) return null
    return `${name} has ${width} × ${height} pixels, but its info says ${info.width} × ${info.height}`
  } catch (error) {
    if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
    return error.message
  }
}

/** Checks a pack against the checksums of the report beside it, where there is one. */
async function fileProblems(path: string): Promise<string[]> {
  const known = readPackReport(dirname(path))?.packs.find(({ name }) => name === basename(path))
  if (!known) return []
  const changed = [
    [path, known.sha256],
    [`${path}-info.json`, known.infoSha256],
  ] as const
  const problems: string[] = []
  for (const [file, expected] of changed)
    if ((await sha256Of(file)) !== expected) problems.push(`${file} is not as it was packed: its checksum differs`)
  return problems
}

async function verifyPack(path: string, options: VerifyOptions): Promise<PackFindings> {
  const { signal, onProgress } = options
  const findings: PackFindings = { pack: path, images: 0, bad: 0, problems: [] }
  const tell = (problem: string): void => {
    if (findings.problems.length < mostProblems) findings.problems.push(problem)
  }
  let pack: Pack
  try {
    for (const problem of await fileProblems(path)) tell(problem)
    pack = openPack(path)
  } catch (error) {
    if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
    tell(error.message)
    findings.bad = 1
    return findings
  }
  try {
    findings.images = pack.keys.length
    const twice = pack.keys.length - new Set(pack.keys).size
    if (twice > 0) tell(`${path} lists ${twice} keys twice`)
    findings.bad = twice
    for (const key of pack.unlisted()) {
      findings.bad++
      tell(`image ${JSON.stringify(key)} has an entry in the info file of ${path}, which does not list it`)
    }
    let [begun, done] = [0, 0]
    const work = async (): Promise<void> => {
      while (begun < pack.keys.length) {
        if (signal?.aborted)
          throw new StarError('ERR_ABORTED', 'the check was stopped before its end', { cause: signal.reason })
        const problem = await recordProblem(pack, pack.keys[begun++])
        if (problem) {
          findings.bad++
          tell(problem)
        }
        onProgress?.(++done, pack.keys.length)
      }
    }
    const workers = options.workers ?? 2 * availableParallelism()
    await Promise.all(Array.from({ length: workers }, work))
  } finally {
    pack.close()
  }
  return findings
}

/**
 * Opens packs one after the other, decodes all of their images and compares them with their info files, and the files with
 * the checksums of a report of `packImages` beside them.
 * @param paths packs or folders of packs
 * @throws ERR_FILE when there are no packs, or fewer than a report names; ERR_ABORTED through `signal`
 */
export async function* verifyPacks(
  paths: readonly string[],
  options: VerifyOptions = {},
): AsyncGenerator<PackFindings> {
  const packs = findPacks(paths)
  for (const folder of paths.filter((path) => statSync(path).isDirectory()))
    for (const { name } of readPackReport(folder)?.packs ?? [])
      if (!existsSync(join(folder, name)) || !packs.includes(join(folder, name)))
        throw new StarError(
          'ERR_FILE',
          `${join(folder, name)} is missing, which the report names: copy or pack it again`,
        )
  for (const pack of packs) yield await verifyPack(pack, options)
}
