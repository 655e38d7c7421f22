/** A folder in which the compiled tests run with the addon of another platform. */
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'

export interface AddonClone {
  /** Where it is made. */
  folder: string
  addon: string
  /** node_modules of an installation for that platform: what it has is taken from there, JavaScript for tests from this clone. */
  packages: string
  /** The path of a file of this machine where the tests run; the same unless they see other folders. */
  seenAs?: (path: string) => string
}

/** Makes it. */
export function makeAddonClone({ folder, addon, packages, seenAs = (path) => path }: AddonClone): void {
  for (const name of ['build', 'node_modules', 'test']) mkdirSync(join(folder, name), { recursive: true })
  const link = (target: string, name: string): void => symlinkSync(seenAs(target), join(folder, name))
  for (const name of ['package.json', 'CMakeLists.txt', 'models', 'configs', 'test/golden', 'test/data'])
    link(join(packageRoot, name), name)
  // Copied, as tests find the clone by the path of their own file.
  cpSync(join(packageRoot, 'dist'), join(folder, 'dist'), { recursive: true })
  cpSync(addon, join(folder, 'build', 'star.node'))
  const own = join(packageRoot, 'node_modules')
  for (const name of readdirSync(own))
    link(join(existsSync(join(packages, name)) ? packages : own, name), join('node_modules', name))
}

/** The golden cases, by their files' names in dist/test/goldens. */
export const goldenFiles = (): string[] =>
  readdirSync(join(packageRoot, 'dist', 'test', 'goldens')).filter((file) => file.endsWith('.test.js'))
