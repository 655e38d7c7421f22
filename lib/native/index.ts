/** The one loader of the native addon. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NativeAddon } from './addon.js'
import { StarError } from './error.js'
import { profileOps } from './profile.js'

export type { NativeAddon, NativeTensor } from './addon.js'
export { type ErrorCode, plain, quoted, StarError } from './error.js'

/** Folder of the package: the nearest one above this file that holds package.json. */
export const packageRoot: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder)
    if (parent === folder)
      throw new StarError('ERR_NATIVE', 'the folder of the star-t2i package was not found: reinstall it')
    folder = parent
  }
  return folder
})()

function load(): NativeAddon {
  const require = createRequire(import.meta.url)
  const platform = `${process.platform}-${process.arch}`
  const candidates = [
    join(packageRoot, 'build', 'star.node'),
    join(packageRoot, 'prebuilds', platform, 'star-t2i.node'),
  ]
  const failures: string[] = []
  for (const file of candidates) {
    if (!existsSync(file)) {
      failures.push(`${file}: not there`)
      continue
    }
    try {
      const addon = require(file) as NativeAddon
      addon.setErrorClass(StarError)
      if (process.env.STAR_PROFILE === '1') profileOps(addon)
      return addon
    } catch (error) {
      failures.push(`${file}: ${(error as Error).message}`)
    }
  }
  throw new StarError(
    'ERR_NATIVE',
    `the native addon of star-t2i could not be loaded on ${platform}, Node ${process.version}. Tried ${failures.join('; ')}. ` +
      'In a clone run "npm run setup", which builds it; from the registry reinstall star-t2i with optional files kept; ' +
      'a missing shared library (libdnnl, libhwy, liblmdb, libgomp) is installed by the same command.',
  )
}

export const native: NativeAddon = load()
