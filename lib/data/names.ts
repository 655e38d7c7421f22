/** What the pictures of npm packages share: where a package lies, and hashes of names that fix splits. */
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { StarError } from '../native/error.js'

/** @param what the data set that needs the package, for the error. @throws ERR_FILE when the package is not installed */
export function packageFolder(name: string, what: string): string {
  try {
    return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`))
  } catch (error) {
    throw new StarError(
      'ERR_FILE',
      `the npm package ${name} is not installed, ${what} needs it: run "npm install ${name}"`,
      { cause: error },
    )
  }
}

/** 32-bit FNV-1a of the UTF-8 bytes, mixed so that all bits depend on all bytes. */
export function hashName(name: string): number {
  let h = 0x811c9dc5
  for (const byte of Buffer.from(name)) h = Math.imul(h ^ byte, 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Whether a name is among the fixed `share` of all names. */
export const isInShare = (name: string, share: number): boolean => hashName(name) < share * 2 ** 32

/** Code points without the variation selector FE0F and leading zeros, which file names and emojibase use differently. */
export const normalizedHexcode = (code: string): string =>
  code
    .toLowerCase()
    .split(/[-_]/)
    .map((point) => point.replace(/^0+/, ''))
    .filter((point) => point !== 'fe0f')
    .join('-')
