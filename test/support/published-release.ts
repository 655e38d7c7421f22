/** The packages of this version, in a registry on this machine. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { Test } from 'tap'
import { packageRoot } from '../../lib/native/index.js'
import { makeTarballs } from '../../scripts/release-packages.js'
import { LocalRegistry } from './local-registry.js'

/**
 * Makes the packages and publishes them; the registry ends with the test.
 * @param addons file of the addon of each platform that gets a package
 */
export async function publishRelease(t: Test, folder: string, addons: Record<string, string>): Promise<LocalRegistry> {
  execFileSync('npm', ['run', '--silent', 'sbom'], { cwd: packageRoot })
  const tarballs = await makeTarballs({ folder: join(folder, 'tarballs'), addons })
  const registry = await LocalRegistry.start(join(folder, 'registry'))
  t.teardown(() => registry.stop())
  for (const file of tarballs) await registry.npm(['publish', file, '--access', 'public'], folder)
  return registry
}
