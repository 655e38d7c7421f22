/** Hashes of a model's weights, by which a picture tells what drew it, and a LoRA what it was trained on. */
import { createHash } from 'node:crypto'
import { cast, scope } from '../tensor/index.js'
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

/**
 * SHA-256, in hexadecimal, over the transformer's names, shapes and values in f16: the same for a copy in another element type of
 * at least these bits, with or without a sampler head.
 * @throws ERR_FILE for damaged weights
 */
export function transformerHash(source: ModelSource): string {
  const hash = createHash('sha256')
  using weights = source.open('transformer')
  const names = Array.from(partEntries(source, 'transformer'), ({ name }) => name).sort()
  for (const name of names)
    scope(() => {
      using tensor = weights.tensor(name)
      hash.update(`${name} ${tensor.shape.join()}\0`)
      hash.update(new Uint8Array(cast(tensor, 'f16').handle.read()))
      weights.drop(tensor)
    })
  return hash.digest('hex')
}
