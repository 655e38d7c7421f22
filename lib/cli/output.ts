/** Where pictures go: names of files, and the check that they can be written, made before any work. */
import { closeSync, existsSync, openSync, rmSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
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

/**
 * Paths of the pictures: `out` itself for one picture, `NAME-1.png`, `NAME-2.png` … for several, and in a folder (a path
 * without .png) `PROMPT-SEED.png` each.
 */
export function picturePaths(out: string, pictures: readonly PictureName[]): string[] {
  if (/\.png$/i.test(out)) {
    if (pictures.length === 1) return [out]
    const digits = String(pictures.length).length
    return pictures.map((_, i) => out.replace(/\.png$/i, `-${String(i + 1).padStart(digits, '0')}$&`))
  }
  if (/\.(jpe?g|webp|gif|bmp|tiff?|avif)$/i.test(out))
    throw new StarError(
      'ERR_ARGUMENT',
      `--out is "${out}", but pictures are written as PNG: end the name in .png, or name a folder`,
    )
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
