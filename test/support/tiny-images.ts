/** Small distinguishable pictures, and packs and tars of them. */
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { pack as tarPack } from 'tar-stream'
import { type PackEntry, writePack } from '../../lib/data/pack.js'
import { encodePng } from '../../lib/data/png.js'

/** A PNG whose upper left pixel is (number, number >> 8, 77), and whose others run from left to right. */
export function numberedPng(number: number, width = 8, height = width): Buffer {
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i++) data.set([(i % width) * 9, number & 255, i & 255], 3 * i)
  data.set([number & 255, number >> 8, 77])
  return encodePng({ width, height, data })
}

export function numberedEntry(number: number, more: Record<string, unknown> = {}): PackEntry {
  const info = {
    id: String(number),
    basename: `${number}.png`,
    prompt: `picture ${number}`,
    width: 8,
    height: 8,
    ...more,
  }
  return { key: `n-${number}`, info, image: numberedPng(number, info.width, info.height) }
}

/** Writes the pack `NAME` of pictures from `first` on. */
export async function numberedPack(path: string, count: number, first = 0): Promise<string> {
  await writePack(
    path,
    Array.from({ length: count }, (_, i) => numberedEntry(first + i)),
  )
  return path
}

/** Writes a tar with these members. */
export async function writeTar(path: string, members: Iterable<[string, string | Buffer]>): Promise<string> {
  mkdirSync(dirname(path), { recursive: true })
  const tar = tarPack()
  for (const [name, content] of members) tar.entry({ name }, content)
  tar.finalize()
  await pipeline(tar as unknown as NodeJS.ReadableStream, createWriteStream(path))
  return path
}

/** A WebDataset tar of pictures from `first` on, with captions in text files. */
export function numberedTar(path: string, count: number, first = 0, side = 8): Promise<string> {
  const numbers = Array.from({ length: count }, (_, i) => first + i)
  return writeTar(
    path,
    numbers.flatMap((n): [string, string | Buffer][] => [
      [`${String(n).padStart(5, '0')}.png`, numberedPng(n, side)],
      [`${String(n).padStart(5, '0')}.txt`, `picture ${n}\n`],
    ]),
  )
}

export const writeText = (folder: string, name: string, content: string): void => {
  mkdirSync(dirname(join(folder, name)), { recursive: true })
  writeFileSync(join(folder, name), content)
}
