/** Choice of the device by name. */
import { native, StarError } from '../native/index.js'

/**
 * The device of a user's choice: `auto` is the first available one that is not the CPU, else the CPU.
 * @throws ERR_DEVICE for an unknown name or a device that is not available, with the reason and what can be chosen
 */
export function resolveDevice(name = 'auto'): string {
  const devices = native.devices()
  if (name === 'auto') return devices.find((device) => device.available && device.name !== 'cpu')?.name ?? 'cpu'
  const known = devices.find((device) => device.name === name)
  if (known?.available) return name
  const choices = ['auto', ...devices.filter((device) => device.available).map((device) => device.name)].join(', ')
  const problem = known ? `is not available: ${known.detail}` : 'is unknown'
  throw new StarError('ERR_DEVICE', `device "${name}" ${problem}; choose one of ${choices}`)
}
