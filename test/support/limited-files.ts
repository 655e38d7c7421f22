/**
 * A child process, started with a limit on the size of files, that writes more than the limit allows: prints the errors and
 * what is left in the folder. Argument: the folder.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { writePack } from '../../lib/data/pack.js'
import { writeFileAtomic } from '../../lib/native/files.js'
import { StarError } from '../../lib/native/index.js'
import { Tensor } from '../../lib/tensor/index.js'
import { writeSafetensors } from '../../lib/weights/index.js'

const folder = process.argv[2]
const info = { id: '', basename: '', prompt: '', width: 1, height: 1 }
const images = Array.from({ length: 50 }, (_, i) => ({ key: `k${i}`, info, image: new Uint8Array(100_000) }))
const attempts: (() => unknown)[] = [
  () => writeFileAtomic(join(folder, 'text'), 'x'.repeat(2 ** 20)),
  () => writeSafetensors(join(folder, 'weights'), [['a', Tensor.empty([2 ** 20])]]),
  () => writePack(join(folder, 'pack'), images),
]
const errors: string[] = []
for (const attempt of attempts) {
  try {
    await attempt()
    errors.push('written')
  } catch (error) {
    errors.push(error instanceof StarError ? `${error.code} ${error.message}` : String(error))
  }
}
console.log(JSON.stringify({ errors, left: readdirSync(folder) }))
