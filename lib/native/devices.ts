/** Devices of this process: those of the addon, and those of plugins, which are loaded when somebody asks for them. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { DeviceInfo } from './addon.js'
import { StarError } from './error.js'
import { native } from './index.js'
import { fileOfPackage, packageRoot } from './package.js'

export type { DeviceInfo } from './addon.js'

/**
 * Loads a plugin and gives the name of its device; a plugin that is loaded already is not loaded again.
 * @throws ERR_DEVICE when the file does not load, is no plugin, or was built from other sources than the addon
 */
export function loadBackendPlugin(file: string): string {
  return native.loadPlugin(file)
}

/** The package that holds the CUDA plugin, which users install beside star-t2i. */
const cudaPackage = `@star-t2i/${process.platform}-${process.arch}-cuda`

/** Where the CUDA plugin may lie: where a clone builds it, or in its package. */
export const cudaPluginFiles: readonly string[] = [
  join(packageRoot, 'build-cuda', 'star_cuda.so'),
  ...[fileOfPackage(`${cudaPackage}/star_cuda.so`)].filter((file) => file !== null),
]

/**
 * Makes the device `simt` known: the CUDA backend compiled for the CPU, which audits what a GPU would be given. A clone builds it;
 * it is no part of the package.
 * @throws ERR_DEVICE where it is not there or does not load
 */
export function loadSimt(): string {
  const file = join(packageRoot, 'build', 'star_simt.so')
  if (!existsSync(file))
    throw new StarError('ERR_DEVICE', `${file} is not there: run this in a clone of the project, after "npm run build"`)
  return loadBackendPlugin(file)
}

/** Loads the CUDA plugin if that was not done; gives the reason when there is none or it does not load. */
function loadCuda(files: readonly string[]): string | null {
  const file = files.find((candidate) => existsSync(candidate))
  if (!file)
    return (
      `this installation has no CUDA plugin (${files.join(' and ')} not there): install it with "npm install ${cudaPackage}", or ` +
      'build it in a clone with "npm run build:cuda"'
    )
  try {
    loadBackendPlugin(file)
    return null
  } catch (error) {
    if (error instanceof StarError) return error.message
    throw error
  }
}

/**
 * All devices, `cuda` among them whether it can be used or not: its `detail` says what it is, or what is missing and what to
 * do. Loads the CUDA plugin; who needs the CPU alone does not call this.
 */
export function devices(files: readonly string[] = cudaPluginFiles): DeviceInfo[] {
  const known = native.devices()
  if (known.some((device) => device.name === 'cuda')) return known
  const problem = loadCuda(files)
  if (problem === null) return native.devices()
  return [...known, { name: 'cuda', available: false, detail: problem }]
}

/** Where the driver on Linux lists the graphics cards, a folder each. */
const driverFolder = '/proc/driver/nvidia/gpus'

/** Number of GPUs that this process may use: those of CUDA_VISIBLE_DEVICES where it is set; 0 where `cuda` is not available. */
export function usableGpus(): number {
  if (!devices().some(({ name, available }) => name === 'cuda' && available)) return 0
  const visible = process.env.CUDA_VISIBLE_DEVICES
  if (visible !== undefined) return visible.split(',').filter((entry) => entry.trim() !== '').length
  return existsSync(driverFolder) ? readdirSync(driverFolder).length : 1
}
