/** The files that a folder's weights lie in. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** Names of weights in a folder, in the order they are looked for. */
export const folderFiles = [
  'model.safetensors.index.json',
  'model.safetensors',
  'pytorch_model.bin.index.json',
  'pytorch_model.bin',
]

/** The name of the weights in a folder, where it holds any. */
export const weightsIn = (folder: string): string | undefined =>
  folderFiles.find((name) => existsSync(join(folder, name)))
