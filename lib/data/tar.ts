/**
 * WebDataset tars: the members of a sample follow each other and share their name up to its first dot (`000123.jpg`,
 * `000123.txt`, `000123.json`). Read from front to back, one sample at a time.
 */
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream'
import { extract } from 'tar-stream'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'

export interface TarSample {
  /** Name up to the first dot. */
  key: string
  /** Members by what follows the first dot of their names, in lower case. */
  files: Map<string, Buffer>
  /** Where the next sample begins in the file. */
  end: number
}

/** A member larger than this is no image: it is passed over. */
const largestMember = 256 << 20
const block = 512

/** The tars that paths name: files, or folders of .tar files. @throws ERR_FILE when there are none */
export function findTars(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    if (!existsSync(path))
      throw new StarError('ERR_FILE', `${path} does not exist: give a WebDataset tar or a folder of them`)
    if (!statSync(path).isDirectory()) return [path]
    const names = readdirSync(path).filter((name) => name.endsWith('.tar'))
    if (names.length === 0)
      throw new StarError('ERR_FILE', `${path} holds no .tar file: give a WebDataset tar or a folder of them`)
    return names.sort().map((name) => join(path, name))
  })
}

/** Name of a sample and of a member in it. */
export function splitName(name: string): { key: string; extension: string } {
  const file = basename(name)
  const dot = file.indexOf('.', 1)
  const folder = dirname(name)
  const stem = dot < 0 ? file : file.slice(0, dot)
  return {
    key: folder === '.' ? stem : `${folder}/${stem}`,
    extension: dot < 0 ? '' : file.slice(dot + 1).toLowerCase(),
  }
}

/**
 * The samples of a tar from the one that begins at byte `start` on.
 * @throws ERR_FILE when it is damaged or cut off, behind the samples before the damage
 */
export async function* tarSamples(path: string, start = 0): AsyncGenerator<TarSample> {
  const members = extract()
  // The error reaches the loop through `members`.
  pipeline(createReadStream(path, { start, highWaterMark: 1 << 20 }), members, () => {})
  let sample: TarSample | null = null
  try {
    for await (const member of members) {
      const { header, offset } = member
      const { size } = header
      const end = start + offset + block + Math.ceil(size / block) * block
      if ((header.type !== 'file' && header.type !== 'contiguous-file') || size > largestMember) {
        member.resume()
        if (sample) sample.end = end
        continue
      }
      const parts: Buffer[] = []
      for await (const part of member) parts.push(part as Buffer)
      const { key, extension } = splitName(header.name)
      if (sample && sample.key !== key) {
        yield sample
        sample = null
      }
      sample ??= { key, files: new Map(), end }
      sample.files.set(extension, Buffer.concat(parts))
      sample.end = end
    }
    if (sample) yield sample
  } catch (error) {
    // What came before the damage is whole.
    if (sample) yield sample
    const known = fileError('read', path, error)
    if (known instanceof StarError) throw known
    throw new StarError(
      'ERR_FILE',
      `${path} is damaged or no tar (${(error as Error).message}): copy it again; compressed tars must be unpacked`,
      { cause: error },
    )
  } finally {
    members.destroy()
  }
}
