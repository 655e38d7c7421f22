/** The one loader of the native addon. */
import { createRequire } from 'node:module'
import type { NativeAddon } from './addon.js'
import { StarError } from './error.js'
import { addonFile } from './package.js'
import { profileOps } from './profile.js'

export type { NativeAddon, NativeTensor } from './addon.js'
export { type ErrorCode, plain, quoted, StarError } from './error.js'
export { packageRoot } from './package.js'

function load(): NativeAddon {
  const file = addonFile()
  let addon: NativeAddon
  try {
    addon = createRequire(import.meta.url)(file) as NativeAddon
  } catch (error) {
    throw new StarError(
      'ERR_NATIVE',
      `the native addon does not load on ${process.platform}-${process.arch} with Node ${process.version}: ` +
        `${(error as Error).message.replaceAll(/\s+/g, ' ')}. In a clone run "npm run setup", which installs the libraries it ` +
        'needs and builds it; an installed star-t2i needs glibc 2.28 or newer: install it again on this machine',
    )
  }
  addon.setErrorClass(StarError)
  if (process.env.STAR_PROFILE === '1') profileOps(addon)
  return addon
}

export const native: NativeAddon = load()
