/** A transformer and texts of a few numbers, for unit tests. */
import { type StarConfigInput, StarTransformer, type TextInput, tokenCount } from '../../lib/models/star/index.js'
import { Random, Tensor } from '../../lib/tensor/index.js'
import { signed, signedValues } from './gradcheck.js'

export const tinySizes = {
  depth: 2,
  width: 16,
  heads: 2,
  patchNums: [1, 2, 3],
  vocabSize: 11,
  latentChannels: 3,
  textWidth: 5,
} satisfies StarConfigInput

export const tinyLength = tokenCount(tinySizes.patchNums)

/** Every parameter random, those that start at zero or near it included, so that each of them matters. */
export function tinyModel(options: Partial<StarConfigInput> = {}): StarTransformer {
  const model = new StarTransformer({ ...tinySizes, ...options }, { init: new Random(7) })
  let salt = 1
  for (const { tensor, trainable } of model.namedTensors()) {
    if (trainable) tensor.write(signedValues(tensor.count, salt++).map((v) => 0.4 * v))
  }
  return model
}

/** Texts of four tokens, the last sample's cut to two. */
export function tinyText(batch: number, salt = 31): TextInput {
  const tokens = 4
  const mask = new Uint8Array(batch * tokens).fill(1)
  mask.fill(0, batch * tokens - 2)
  return {
    states: signed([batch, tokens, tinySizes.textWidth], salt),
    pooled: signed([batch, tinySizes.textWidth], salt + 1),
    mask: Tensor.from(mask, [batch, tokens]),
  }
}

export function tinyInput(batch: number): Tensor {
  return signed([batch, tinyLength - 1, tinySizes.latentChannels], 41)
}

export function tinyTargets(batch: number): Tensor {
  const values = Int32Array.from({ length: batch * tinyLength }, (_, i) => (i * 7 + 3) % tinySizes.vocabSize)
  return Tensor.from(values, [batch, tinyLength])
}
