/** Where the files of this installation lie: the package itself, and the one that holds the native addon for this machine. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { StarError } from './error.js'

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

/** Platforms with a published addon, as in the names of the packages that hold it: `@star-t2i/linux-x64`. */
export const publishedPlatforms: readonly string[] = [
  'linux-x64',
  'linux-arm64',
  'linux-x64-musl',
  'darwin-arm64',
  'win32-x64',
]

/** This machine's platform, as in the names of platform packages. Alpine's is `linux-x64-musl`. */
export function platform(): string {
  const name = `${process.platform}-${process.arch}`
  if (process.platform !== 'linux') return name
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime ? name : `${name}-musl`
}

const require = createRequire(import.meta.url)

/** Path of a file in another package of this installation, or null where that package is not installed. */
export function fileOfPackage(file: string): string | null {
  try {
    return require.resolve(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null
    throw error
  }
}

/** The addon to load: a clone's own build where there is one, else that of the platform package. */
export function addonFile(): string {
  const built = join(packageRoot, 'build', 'star.node')
  if (existsSync(built)) return built
  const candidates = new Map(
    [`${process.platform}-${process.arch}`, `${process.platform}-${process.arch}-musl`].flatMap((name) => {
      const file = fileOfPackage(`@star-t2i/${name}/star-t2i.node`)
      return file ? [[name, file] as const] : []
    }),
  )
  const [only] = candidates.values()
  if (candidates.size === 1) return only
  // Some package managers install the packages of both C libraries, whatever the machine's is.
  const here = platform()
  const published = candidates.get(here)
  if (published) return published
  throw new StarError(
    'ERR_NATIVE',
    existsSync(join(packageRoot, 'CMakeLists.txt'))
      ? `the native addon is not built: run "npm run setup" in ${packageRoot}`
      : publishedPlatforms.includes(here)
        ? `the package @star-t2i/${here}, which holds the native addon for this machine, is not installed: install star-t2i again with npm ` +
          'on this machine, without --omit=optional'
        : `star-t2i has no native addon for ${here}, only for ${publishedPlatforms.join(', ')}: use one of those, or build it from ` +
          'a clone of the project',
  )
}
