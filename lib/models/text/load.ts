/** Text encoders by the name that model.json gives. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot, StarError } from '../../native/index.js'
import { MiniLmEncoder, type TextEncoder } from './index.js'

const loaders: Readonly<Record<string, (folder: string, device: string) => TextEncoder>> = {
  'minilm-l6': (folder, device) => MiniLmEncoder.load(folder, { device }),
}

export const textEncoderNames: readonly string[] = Object.keys(loaders)

/**
 * Loads a text encoder from the package's models folder.
 * @throws ERR_CONFIG for an unknown name, ERR_FILE when its files are missing or damaged
 */
export function loadTextEncoder(name: string, device: string): TextEncoder {
  if (!Object.hasOwn(loaders, name))
    throw new StarError('ERR_CONFIG', `text encoder "${name}" is unknown; known are ${textEncoderNames.join(', ')}`)
  const folder = join(packageRoot, 'models', name)
  if (!existsSync(folder))
    throw new StarError(
      'ERR_FILE',
      `the text encoder ${name} is not in ${folder}: reinstall star-t2i, or restore the folder`,
    )
  return loaders[name](folder, device)
}
