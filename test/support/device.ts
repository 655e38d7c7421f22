/** The device that golden tests run on: STAR_TEST_DEVICE, the CPU where it is not set. */
import { join } from 'node:path'
import { loadBackendPlugin } from '../../lib/native/devices.js'
import { packageRoot } from '../../lib/native/index.js'
import { resolveDevice } from '../../lib/tensor/index.js'

/** Makes a device known where that is not done by itself, and gives its name. */
export function useDevice(name: string): string {
  // The host runtime for the CUDA sources: no part of the package, so only tests know of it.
  if (name === 'simt') loadBackendPlugin(join(packageRoot, 'build', 'star_simt.so'))
  return resolveDevice(name)
}

export const testDevice: string = useDevice(process.env.STAR_TEST_DEVICE ?? 'cpu')
