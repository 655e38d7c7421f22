/** Choice of the device by name. */
import { devices } from '../native/devices.js'
import { StarError } from '../native/index.js'

/**
 * The device of a user's choice: `auto` is `cuda` where it can be used, else the CPU; `cuda:0` is `cuda`. The CPU is taken
 * without a look at any other device.
 * @throws ERR_DEVICE for an unknown name or a device that is not available, with the reason and what can be chosen
 */
export function resolveDevice(given = 'auto'): string {
  if (given === 'cpu') return given
  const name = given === 'cuda:0' ? 'cuda' : given
  const all = devices()
  const known = all.find((device) => device.name === (name === 'auto' ? 'cuda' : name))
  if (known?.available) return known.name
  if (name === 'auto') return 'cpu'
  const index = /^cuda:(\d+)$/.exec(name)?.[1]
  if (index !== undefined)
    throw new StarError(
      'ERR_DEVICE',
      `device "${given}" is not one to choose: a process uses the first GPU it sees; set CUDA_VISIBLE_DEVICES=${index} and take cuda`,
    )
  const choices = ['auto', ...all.filter(({ available }) => available || !known).map((device) => device.name)].join(
    ', ',
  )
  const problem = known ? `is not available: ${known.detail}` : 'is unknown'
  throw new StarError('ERR_DEVICE', `device "${given}" ${problem}; choose one of ${choices}`)
}

/** Why a choice of `auto` ended on the CPU, in one line; null where it did not. */
export function fallbackNotice(given: string | undefined, device: string): string | null {
  if ((given ?? 'auto') !== 'auto' || device !== 'cpu') return null
  return `running on the CPU, not on a GPU: ${devices().find(({ name }) => name === 'cuda')?.detail}`
}
