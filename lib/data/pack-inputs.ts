/** What `star pack` takes: folders and lists of images with captions, and WebDataset tars, as one order of inputs. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path'
import { fileError } from '../native/files.js'
import { StarError } from '../native/index.js'
import { csvRows } from './csv.js'
import { findTars, type TarSample, tarSamples } from './tar.js'
import { tarImage, tarInfo } from './tar-source.js'

/** An input could not be made into a record. */
export class InputError extends Error {
  constructor(
    readonly reason: LeftOutReason,
    message: string,
  ) {
    super(message)
  }
}

/** Why an input is left out of a pack. */
export type LeftOutReason = 'noImage' | 'noCaption' | 'badInfo' | 'badImage' | 'badKey' | 'badTar' | 'twice'

export interface PackInput {
  /** What the report calls it: a path, or a name in a tar. */
  name: string
  /** Name of the record among those of the input. */
  id: string
  /** Captions and facts. @throws InputError */
  info(): Promise<Record<string, unknown>>
  /** The encoded image. @throws InputError */
  image(): Promise<Buffer>
  /** Position in the inputs behind this one. */
  after: unknown
  /** A number in [0, 1) that a hash of the name gives: what is held out does not depend on the order of the inputs. */
  draw: number
}

export interface PackInputs {
  /** What kind of input it is, in words. */
  kind: string
  /** Inputs there are, or null where only reading them tells. */
  count: number | null
  /** A hash of the inputs' names: whether an interrupted packing can be resumed. */
  fingerprint: string
  /**
   * The number that the draws of about this fraction of the inputs are below. Of listed inputs it is exactly that fraction, rounded,
   * at least one input and never all.
   */
  drawsBelow(fraction: number): number
  /** Inputs from a place on. */
  from(place: unknown): AsyncIterable<PackInput>
}

const imageName = /\.(png|jpe?g|webp|gif|avif|tiff?)$/i
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

function hashOf(texts: Iterable<string>): string {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(`${text}\0`)
  return hash.digest('hex').slice(0, 16)
}

const drawOf = (name: string): number => Number.parseInt(hashOf(['held-out', name]).slice(0, 12), 16) / 16 ** 12

async function readInput(file: string, reason: LeftOutReason): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new InputError(reason, (fileError('read', file, error) as Error).message)
  }
}

async function readInfo(file: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse((await readInput(file, 'badInfo')).toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch (error) {
    if (error instanceof InputError) throw error
  }
  throw new InputError('badInfo', `${file} is not a JSON object`)
}

/** Inputs that are listed before they are read. */
function listed(
  kind: string,
  names: readonly string[],
  input: (name: string) => Omit<PackInput, 'after' | 'draw'>,
): PackInputs {
  return {
    kind,
    count: names.length,
    fingerprint: hashOf([kind, ...names]),
    drawsBelow(fraction) {
      if (fraction === 0) return 0
      const draws = names.map(drawOf).sort((a, b) => a - b)
      return draws[Math.min(Math.max(1, Math.round(fraction * draws.length)), draws.length - 1)] ?? 0
    },
    async *from(place) {
      const start = typeof place === 'number' ? place : 0
      for (let i = start; i < names.length; i++) yield { ...input(names[i]), draw: drawOf(names[i]), after: i + 1 }
    },
  }
}

/** `images/` and `jsons/`: one JSON an image, which names it by `basename`. */
function imagesAndJsons(folder: string): PackInputs {
  const jsons = readdirSync(join(folder, 'jsons')).filter((name) => name.endsWith('.json'))
  return listed('images/ and jsons/', jsons.sort(byName), (name) => {
    const stem = name.slice(0, -'.json'.length)
    const read = readInfo(join(folder, 'jsons', name))
    // Whoever asks for the info or the image sees the error.
    read.catch(() => {})
    return {
      name: `jsons/${name}`,
      id: stem,
      info: () => read,
      image: async () => {
        const given = (await read).basename
        const file = typeof given === 'string' && given !== '' ? basename(given) : `${stem}.png`
        return readInput(join(folder, 'images', file), 'noImage')
      },
    }
  })
}

/** Images in a folder and those below it, each with a .json of captions and facts or a .txt of one caption beside it. */
function imagesWithCaptions(folder: string): PackInputs {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const names = files.filter((name) => imageName.test(name)).map((name) => name.split(sep).join('/'))
  if (names.length === 0)
    throw new StarError(
      'ERR_FILE',
      `${folder} holds no images and no tars: give a folder with images/ and jsons/, one of images with captions beside them, a .csv or .jsonl list, or WebDataset tars`,
    )
  return listed('images with captions beside them', names.sort(byName), (name) => {
    const stem = join(folder, name.slice(0, -extname(name).length))
    return {
      name,
      id: name.slice(0, -extname(name).length),
      info: async () => {
        const info: Record<string, unknown> = { basename: basename(name) }
        if (existsSync(`${stem}.txt`)) info.prompt = (await readInput(`${stem}.txt`, 'badInfo')).toString('utf8').trim()
        return existsSync(`${stem}.json`) ? { ...info, ...(await readInfo(`${stem}.json`)) } : info
      },
      image: () => readInput(join(folder, name), 'noImage'),
    }
  })
}

const pathKeys = ['path', 'image', 'file', 'filename', 'file_name', 'image_path'] as const
const promptKeys = ['prompt', 'caption', 'text'] as const

function recordsOf(list: string): Record<string, unknown>[] {
  const text = readFileSync(list, 'utf8').replace(/^\ufeff/, '')
  if (/\.csv$/i.test(list)) {
    const [header = [], ...rows] = [...csvRows(text)]
    return rows.map((row) => Object.fromEntries(header.map((name, i) => [name.trim(), row[i] ?? ''])))
  }
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    try {
      const value: unknown = JSON.parse(line)
      if (typeof value === 'object' && value !== null) return [value as Record<string, unknown>]
    } catch {}
    throw new StarError('ERR_FILE', `${list}, line ${i + 1} is not a JSON object: repair it, or remove the line`)
  })
}

/** A .csv with a line of names, or .jsonl: `path` of an image relative to the list, `prompt`, and what else is known. */
function listOfImages(list: string): PackInputs {
  const records = recordsOf(list)
  const pathKey = pathKeys.find((key) => records.some((record) => typeof record[key] === 'string'))
  if (!pathKey)
    throw new StarError(
      'ERR_FILE',
      `${list} names no images: expected a column ${pathKeys.map((key) => `"${key}"`).join(' or ')} with paths relative to the list`,
    )
  const names = records.map((record) => JSON.stringify(record))
  return listed('a list of images', names, (text) => {
    const record = JSON.parse(text) as Record<string, unknown>
    const path = String(record[pathKey] ?? '')
    const promptKey = promptKeys.find((key) => typeof record[key] === 'string')
    const { [pathKey]: _, ...info } = record
    const within = relative(dirname(list), resolve(dirname(list), path))
      .split(sep)
      .join('/')
    return {
      name: path,
      id: String(record.id ?? within.slice(0, within.length - extname(within).length)),
      info: async () => ({ basename: basename(path), prompt: promptKey && record[promptKey], ...info }),
      image: () => readInput(resolve(dirname(list), path), 'noImage'),
    }
  })
}

function sampleInput(sample: TarSample, tar: string): Omit<PackInput, 'after' | 'draw'> {
  return {
    name: `${sample.key} of ${tar}`,
    id: sample.key,
    info: async () => {
      try {
        return { basename: basename(sample.key), ...tarInfo(sample) }
      } catch (error) {
        throw new InputError('badInfo', `its json cannot be used: ${(error as Error).message}`)
      }
    },
    image: async () => {
      const image = tarImage(sample)
      if (!image) throw new InputError('noImage', `it has only ${[...sample.files.keys()].join(', ')}`)
      return image
    },
  }
}

/** WebDataset tars, streamed. */
function samplesOfTars(tars: readonly string[]): PackInputs {
  return {
    kind: tars.length === 1 ? 'a WebDataset tar' : `${tars.length} WebDataset tars`,
    count: null,
    drawsBelow: (fraction) => fraction,
    fingerprint: hashOf(['tars', ...tars.flatMap((tar) => [basename(tar), String(statSync(tar).size)])]),
    async *from(place) {
      let { tar, byte } = (place ?? { tar: 0, byte: 0 }) as { tar: number; byte: number }
      for (; tar < tars.length; tar++, byte = 0) {
        const file = basename(tars[tar])
        try {
          for await (const sample of tarSamples(tars[tar], byte))
            yield { ...sampleInput(sample, file), draw: drawOf(sample.key), after: { tar, byte: sample.end } }
        } catch (error) {
          if (!(error instanceof StarError) || error.code !== 'ERR_FILE') throw error
          const fail = (): never => {
            throw new InputError('badTar', error.message)
          }
          yield {
            name: file,
            id: file,
            info: async () => fail(),
            image: async () => fail(),
            draw: drawOf(file),
            after: { tar: tar + 1, byte: 0 },
          }
        }
      }
    },
  }
}

/** The inputs that paths name, all of one kind. @throws ERR_FILE when there are none, ERR_ARGUMENT for several lists or folders */
export function findInputs(paths: readonly string[]): PackInputs {
  for (const path of paths)
    if (!existsSync(path))
      throw new StarError('ERR_FILE', `${path} does not exist: give a folder or list of images, or WebDataset tars`)
  const [path] = paths
  const isFolder = (path: string): boolean => statSync(path).isDirectory()
  const hasTars = (path: string): boolean =>
    isFolder(path) ? readdirSync(path).some((name) => name.endsWith('.tar')) : path.endsWith('.tar')
  if (paths.every(hasTars)) return samplesOfTars(findTars(paths))
  if (paths.length > 1)
    throw new StarError(
      'ERR_ARGUMENT',
      `${paths.join(', ')}: several inputs must all be WebDataset tars: pack one by one`,
    )
  if (!isFolder(path)) {
    if (/\.(csv|jsonl|ndjson)$/i.test(path)) return listOfImages(path)
    throw new StarError('ERR_FILE', `${path} is no input to pack: expected a folder, a .csv or .jsonl list, or a .tar`)
  }
  const inside = (name: string): boolean => existsSync(join(path, name)) && isFolder(join(path, name))
  return inside('images') && inside('jsons') ? imagesAndJsons(path) : imagesWithCaptions(path)
}
