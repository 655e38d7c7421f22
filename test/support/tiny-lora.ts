/** A LoRA of the tiny model, with values at random, as a training or PEFT would have written it. */
import { LoraAdapters, layersOf, loraTargetNames, writeLora } from '../../lib/models/lora/index.js'
import { findModel } from '../../lib/models/source.js'
import { StarTransformer } from '../../lib/models/star/index.js'
import { transformerHash } from '../../lib/models/weights-hash.js'
import { signedValues } from './gradcheck.js'

export const tinyLora = { rank: 2, alpha: 3 }

/** Writes a LoRA of all matrices of the model in a folder. @param salt of its values, which are below `size` */
export function writeTinyLora(folder: string, model: string, salt = 1, size = 0.5): void {
  const source = findModel(model)
  const { rank, alpha } = tinyLora
  using transformer = new StarTransformer(source.transformer!, { init: null })
  const shapes = new Map(layersOf(transformer, loraTargetNames).map((name) => [name, { rank, scale: alpha / rank }]))
  using adapters = new LoraAdapters(transformer, shapes, { init: null })
  for (const { tensor } of adapters.namedTensors())
    tensor.write(signedValues(tensor.count, salt++).map((v) => size * v))
  writeLora(folder, {
    tensors: adapters.namedTensors(),
    rank,
    alpha,
    targets: loraTargetNames,
    base: { name: model, hash: transformerHash(source) },
  })
}
