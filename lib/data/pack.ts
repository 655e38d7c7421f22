/**
 * Packs of images in the layout of the STAR authors: one LMDB file `DATASET-xxxxxx` (format 1) and
 * `DATASET-xxxxxx-info.json` (key → captions and sizes) beside it. In the LMDB file `__keys__` holds the pickled list (or,
 * by some versions of their library, set) of keys, four more such entries hold None, and every image lies under its pickled
 * key as pickled bytes (PNG).
 */
import { closeSync, openSync, read, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fileError, replaceFile, writeFileAtomic } from '../native/files.js'
import { native, plain, StarError } from '../native/index.js'
import type { LmdbReader, LmdbWriter } from '../native/ops/io.js'
import { pickle, unpickle } from './pickle.js'

/** What the info file says about one image. Other keys may hold more captions and facts. */
export interface ImageInfo {
  id: string
  basename: string
  prompt: string
  width: number
  height: number
  [key: string]: unknown
}

/** Images a pack file holds at most. */
export const packLimit = 10_000

const readAt = promisify(read)

const special = ['__key_dumps__', '__key_loads__', '__value_dumps__', '__value_loads__'] as const
const infoFile = (path: string) => `${path}-info.json`

function readInfo(file: string): Map<string, ImageInfo> {
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new StarError('ERR_FILE', `${file} is not JSON (${plain(error.message)}): pack the images again`)
    throw fileError('read', file, error)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new StarError('ERR_FILE', `${file} is not a JSON object of keys: pack the images again`)
  const infos = new Map<string, ImageInfo>()
  for (const [key, value] of Object.entries(parsed)) {
    const info = value as Partial<ImageInfo> | null
    if (typeof info !== 'object' || info === null || typeof info.width !== 'number' || typeof info.height !== 'number')
      throw new StarError('ERR_FILE', `${file}: ${JSON.stringify(key)} has no width and height: pack the images again`)
    infos.set(key, {
      ...info,
      id: String(info.id ?? key),
      basename: String(info.basename ?? ''),
      prompt: String(info.prompt ?? ''),
    } as ImageInfo)
  }
  return infos
}

/** An open pack. Every method throws ERR_FILE when what the file holds is not what a pack holds. */
export class Pack {
  readonly path: string
  /** Keys of the images, in the order they were packed. */
  readonly keys: readonly string[]
  readonly #reader: LmdbReader
  /** Of the same file, for reads beside its map. */
  readonly #descriptor: number
  #infos: Map<string, ImageInfo> | null
  /** Reads under way, which need the file to stay open. */
  #reads = 0
  #closed = false

  /** @param path the LMDB file; its info file lies beside it */
  constructor(path: string) {
    this.path = path
    this.#reader = new native.LmdbReader(path)
    try {
      this.#descriptor = openSync(path, 'r')
    } catch (error) {
      this.#reader.close()
      throw fileError('read', path, error)
    }
    try {
      for (const name of special) {
        const value = this.#reader.get(Buffer.from(name))
        if (value && this.#decode(name, value) !== null)
          throw new StarError(
            'ERR_FILE',
            `${path} was written with functions of its own (${name} is set): pack the images with pickled keys and values`,
          )
      }
      const list = this.#reader.get(Buffer.from('__keys__'))
      if (!list)
        throw new StarError(
          'ERR_FILE',
          `${path} is an LMDB file but not a pack (it has no __keys__): give the path of a pack`,
        )
      const keys = this.#decode('__keys__', list)
      if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string'))
        throw new StarError('ERR_FILE', `${path}: __keys__ is not a list of texts: pack the images again`)
      this.keys = keys as string[]
      this.#infos = readInfo(infoFile(path))
    } catch (error) {
      this.#release()
      throw error
    }
  }

  #release(): void {
    closeSync(this.#descriptor)
    this.#reader.close()
  }

  #decode(key: string, value: Uint8Array): ReturnType<typeof unpickle> {
    try {
      return unpickle(value)
    } catch (error) {
      throw new StarError('ERR_FILE', `${this.path}, entry ${JSON.stringify(key)}: ${(error as Error).message}`)
    }
  }

  #info(key: string): ImageInfo | undefined {
    this.#infos ??= readInfo(infoFile(this.path))
    return this.#infos.get(key)
  }

  /** Whether the info file knows the key. */
  knows(key: string): boolean {
    return this.#info(key) !== undefined
  }

  /** Keys of the info file that the pack does not list. */
  unlisted(): string[] {
    const listed = new Set(this.keys)
    this.#infos ??= readInfo(infoFile(this.path))
    return [...this.#infos.keys()].filter((key) => !listed.has(key))
  }

  /** Frees what the info file said; it is read again when it is asked for. */
  forgetInfos(): void {
    this.#infos = null
  }

  /** @throws ERR_FILE when the info file does not know the key */
  info(key: string): ImageInfo {
    const info = this.#info(key)
    if (!info)
      throw new StarError(
        'ERR_FILE',
        `${infoFile(this.path)} has no entry ${JSON.stringify(key)}, which the pack lists: pack the images again`,
      )
    return info
  }

  /** The encoded image (PNG in packs of the authors). */
  image(key: string): Uint8Array {
    return this.#image(key, this.#reader.get(pickle(key)) ?? this.#missing(key))
  }

  /** As `image`, read beside other work and without the pages of a map, which would count as memory of this process. */
  async read(key: string): Promise<Uint8Array> {
    const [offset, size] = this.#reader.locate(pickle(key)) ?? this.#missing(key)
    this.#reads++
    try {
      const value = Buffer.allocUnsafeSlow(size)
      for (let done = 0; done < size; ) {
        const { bytesRead } = await readAt(this.#descriptor, value, done, size - done, offset + done)
        if (bytesRead === 0) throw new StarError('ERR_FILE', `${this.path} was cut off: copy or pack it again`)
        done += bytesRead
      }
      return this.#image(key, value)
    } catch (error) {
      throw fileError('read', this.path, error)
    } finally {
      this.#reads--
      if (this.#closed && this.#reads === 0) this.#release()
    }
  }

  #missing(key: string): never {
    throw new StarError(
      'ERR_FILE',
      `${this.path} holds no image ${JSON.stringify(key)}: give a key of the pack, or pack the images again`,
    )
  }

  #image(key: string, value: Uint8Array): Uint8Array {
    const image = this.#decode(key, value)
    if (!(image instanceof Uint8Array))
      throw new StarError(
        'ERR_FILE',
        `${this.path}: ${JSON.stringify(key)} holds no image bytes: pack the images again`,
      )
    return image
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#reads === 0) this.#release()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Opens a pack for reading. @throws ERR_FILE when it is missing, damaged, or an LMDB file of another format or content */
export function openPack(path: string): Pack {
  return new Pack(path)
}

/** One image to pack. */
export interface PackEntry {
  key: string
  info: ImageInfo
  /** PNG bytes. */
  image: Uint8Array
}

function putAll(writer: LmdbWriter, infos: Map<string, ImageInfo>): void {
  for (const name of special) writer.put(Buffer.from(name), pickle(null))
  writer.put(Buffer.from('__keys__'), pickle([...infos.keys()]))
  writer.finish()
}

/** Beside a pack: the loader of the reference implementation lists packs by these files, which LMDB fills when it needs them. */
export const lockFile = (path: string): string => `${path}-lock`

/**
 * Writes one pack, its info file and an empty lock file. They appear when they are complete; after an error none is touched.
 * @throws ERR_ARGUMENT for a key given twice or too long, ERR_FILE when the files cannot be written, and what `entries` throws
 */
export async function writePack(
  path: string,
  entries: Iterable<PackEntry> | AsyncIterable<PackEntry>,
): Promise<{ count: number }> {
  const infos = new Map<string, ImageInfo>()
  await replaceFile(path, async (temporary) => {
    const writer = new native.LmdbWriter(temporary)
    try {
      for await (const { key, info, image } of entries) {
        if (infos.has(key))
          throw new StarError('ERR_ARGUMENT', `writePack: the key ${JSON.stringify(key)} is given twice`)
        infos.set(key, info)
        writer.put(pickle(key), pickle(image))
      }
      putAll(writer, infos)
    } finally {
      writer.close()
    }
    writeFileAtomic(infoFile(path), `${JSON.stringify(Object.fromEntries(infos), null, 4)}\n`)
  })
  writeFileAtomic(lockFile(path), '')
  return { count: infos.size }
}

/**
 * Writes packs `folder/DATASET-000000`, `-000001`, … of at most `limit` images.
 * @returns the paths of the packs
 */
export async function writePacks(
  folder: string,
  dataset: string,
  entries: Iterable<PackEntry> | AsyncIterable<PackEntry>,
  options: { limit?: number } = {},
): Promise<{ paths: string[]; count: number }> {
  const limit = options.limit ?? packLimit
  const paths: string[] = []
  let count = 0
  async function* once(source: Iterable<PackEntry> | AsyncIterable<PackEntry>): AsyncGenerator<PackEntry> {
    yield* source
  }
  const source = once(entries)
  let next = await source.next()
  while (!next.done) {
    const path = join(folder, `${dataset}-${String(paths.length).padStart(6, '0')}`)
    async function* part(): AsyncGenerator<PackEntry> {
      for (let i = 0; i < limit && !next.done; i++, next = await source.next()) yield next.value
    }
    count += (await writePack(path, part())).count
    paths.push(path)
  }
  return { paths, count }
}
