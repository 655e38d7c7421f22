/** The device that golden tests run on: STAR_TEST_DEVICE, the CPU where it is not set. */
import { join } from 'node:path'
import { loadBackendPlugin } from '../../lib/native/devices.js'
import { packageRoot } from '../../lib/native/index.js'
import { resolveDevice } from '../../lib/tensor/index.js'

function load(name: string): string {
  // The host runtime for the CUDA sources: no part of the package, so only tests know of it.
  if (name === 'simt') loadBackendPlugin(join(packageRoot, 'build', 'star_simt.so'))
  return resolveDevice(name)
}

export const testDevice: string = load(process.env.STAR_TEST_DEVICE ?? 'cpu')
