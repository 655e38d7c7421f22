/** Choice of the device by name. */
import { devices } from '../native/devices.js'
import { StarError } from '../native/index.js'

let told = false

/**
 * The device of a user's choice: `auto` is `cuda` where it can be used, else the CPU. The CPU is taken without a look at any
 * other device.
 * @throws ERR_DEVICE for an unknown name or a device that is not available, with the reason and what can be chosen
 */
export function resolveDevice(name = 'auto'): string {
  if (name === 'cpu') return name
  const all = devices()
  const known = all.find((device) => device.name === (name === 'auto' ? 'cuda' : name))
  if (known?.available) return known.name
  if (name === 'auto') return 'cpu'
  const choices = ['auto', ...all.filter((device) => device.available).map((device) => device.name)].join(', ')
  const problem = known ? `is not available: ${known.detail}` : 'is unknown'
  throw new StarError('ERR_DEVICE', `device "${name}" ${problem}; choose one of ${choices}`)
}

/**
 * Says on standard error, once a process, why a choice of `auto` ended on the CPU. For the end of what loads a model: a load
 * that fails has its own error to show.
 */
export function tellFallback(name: string | undefined, device: string): void {
  if (told || (name ?? 'auto') !== 'auto' || device !== 'cpu') return
  told = true
  console.error(`running on the CPU, not on a GPU: ${devices().find((device) => device.name === 'cuda')?.detail}`)
}
