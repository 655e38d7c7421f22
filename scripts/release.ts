/** Makes the tarballs of this version from what scripts/prebuild made: node dist/scripts/release.js FOLDER */
import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { packageRoot, StarError } from '../lib/native/index.js'
import { publishedPlatforms } from '../lib/native/package.js'
import { makeTarballs } from './release-packages.js'

const prebuilt = (name: string): Record<string, string> =>
  Object.fromEntries(
    publishedPlatforms
      .map((platform) => [platform, join(packageRoot, 'prebuilds', platform, name)])
      .filter(([, file]) => existsSync(file)),
  )

const folder = process.argv[2]
if (!folder) throw new Error('usage: node dist/scripts/release.js FOLDER')
const addons = prebuilt('star-t2i.node')
for (const platform of publishedPlatforms)
  if (!addons[platform])
    throw new StarError('ERR_FILE', `there is no addon for ${platform}: scripts/prebuild ${platform} makes it`)
const plugins = prebuilt('star_cuda.so')
const tarballs = await makeTarballs({ folder, addons, plugins })
for (const file of tarballs) console.log(`${basename(file)}  ${(statSync(file).size / 1e6).toFixed(1)} MB`)
if (Object.keys(plugins).length === 0)
  console.log('the package of the CUDA plugin was left out: scripts/release FOLDER --cuda makes it as well')
