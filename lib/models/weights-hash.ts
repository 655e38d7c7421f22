/** A hash of a model's stored weights, by which a picture tells what drew it. */
import { createHash } from 'node:crypto'
import type { ModelPart } from '../weights/index.js'
import { type ModelSource, partEntries } from './source.js'

/**
 * SHA-256, in hexadecimal, over all parts of a model as they are stored: names, types, shapes and values of the tensors, by name.
 * The same for a copy of the model under another name; does not depend on device or element type in use. Reads every weight.
 * @throws ERR_FILE for damaged weights
 */
export function weightsHash(source: ModelSource): string {
  const parts: ModelPart[] = ['tokenizer']
  if (source.transformer) parts.push('transformer')
  if (source.samplerHead) parts.push('sampler-head')
  const hash = createHash('sha256')
  for (const part of parts) {
    using weights = source.open(part)
    const names = Array.from(partEntries(source, part), ({ name }) => name).sort()
    for (const name of names) {
      using tensor = weights.tensor(name)
      hash.update(`${part} ${name} ${tensor.dtype} ${tensor.shape.join()}\0`)
      hash.update(new Uint8Array(tensor.handle.read()))
      weights.drop(tensor)
    }
  }
  return hash.digest('hex')
}
