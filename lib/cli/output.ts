/** Where pictures go: names of files, and the check that they can be written, made before any work. */
import { closeSync, existsSync, openSync, rmSync, statSync } from 'node:fs'
import { dirname, extname, join, resolve } from 'node:path'
import { StarError } from '../native/error.js'
import { fileError } from '../native/files.js'

/** A short file name from a prompt: letters and digits of any script, joined by dashes. */
export function slug(prompt: string): string {
  const words =
    prompt
      .normalize('NFKC')
      .toLowerCase()
      .match(/[\p{L}\p{N}]+/gu) ?? []
  return words.join('-').slice(0, 48).replace(/-+$/, '') || 'picture'
}

export interface PictureName {
  prompt: string
  seed: number
}

/** Formats that pictures are not written in, and whose names are no folders'. */
const otherFormats = /\.(gif|bmp|tiff?|heic|jxl|ppm)$/i

/** Whether a path names one picture's file, by its ending; otherwise it is a folder. @throws ERR_ARGUMENT for other formats */
export function namesFile(out: string): boolean {
  if (otherFormats.test(out))
    throw new StarError(
      'ERR_ARGUMENT',
      `--out is "${out}", but pictures are written as .png, .jpg, .webp or .avif: end the name in one of them, or name a folder`,
    )
  return /\.(png|jpe?g|webp|avif)$/i.test(out)
}

/** Gives names that no file has yet, by a number behind them. Two calls of one function give two names. */
export function freeNames(): (path: string) => string {
  const taken = new Set<string>()
  return (path) => {
    const ending = extname(path)
    let name = path
    for (let n = 2; taken.has(name) || (existsSync(name) && statSync(name).isFile()); n++)
      name = `${path.slice(0, path.length - ending.length)}-${n}${ending}`
    taken.add(name)
    return name
  }
}

/**
 * Paths of the pictures: `out` itself for one picture, `NAME-1.png`, `NAME-2.png` … for several, and in a folder (a path
 * without a picture's ending) `PROMPT-SEED.png` each. Where a file is already, a number makes the name free, unless `force` says
 * that it is replaced.
 */
export function picturePaths(out: string, pictures: readonly PictureName[], force: boolean): string[] {
  const paths = plainPaths(out, pictures)
  return force ? paths : paths.map(freeNames())
}

function plainPaths(out: string, pictures: readonly PictureName[]): string[] {
  if (namesFile(out)) {
    if (pictures.length === 1) return [out]
    const digits = String(pictures.length).length
    return pictures.map((_, i) => out.replace(/\.\w+$/, `-${String(i + 1).padStart(digits, '0')}$&`))
  }
  const taken = new Set<string>()
  return pictures.map(({ prompt, seed }) => {
    const base = `${slug(prompt)}-${seed}`
    let name = base
    for (let n = 2; taken.has(name); n++) name = `${base}-${n}`
    taken.add(name)
    return join(out, `${name}.png`)
  })
}

/**
 * Checks that a file can be written, by making one in its folder (or in the nearest folder above that exists) and removing it.
 * @throws ERR_FILE with the reason
 */
export function checkWritable(file: string): void {
  const path = resolve(file)
  if (existsSync(path) && !statSync(path).isFile())
    throw new StarError(
      'ERR_FILE',
      `${file} cannot be written: it is ${statSync(path).isDirectory() ? 'a folder' : 'not a regular file'}; give the path of a file`,
    )
  let folder = dirname(path)
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder)
  const probe = join(folder, `.star-${process.pid}.tmp`)
  try {
    closeSync(openSync(probe, 'wx'))
    rmSync(probe)
  } catch (error) {
    throw fileError('written', file, error)
  }
}
