/** A complete model folder of a few hundred kilobytes with random weights, for tests of everything around a model. */

import { type StarConfigInput, StarTransformer } from '../../lib/models/star/index.js'
import { Tokenizer } from '../../lib/models/tokenizer/index.js'
import { Random } from '../../lib/tensor/index.js'
import { writeModelFolder } from '../../lib/weights/index.js'

const patchNums = [1, 2, 4]
export const tinySide = 8
export const tinyScales = patchNums.length

const tokenizerConfig = {
  baseChannels: 32,
  channelMultipliers: [1, 1],
  residualBlocks: 1,
  levelAttention: false,
  vocabSize: 32,
  latentChannels: 8,
  patchNums,
}
const transformerConfig = {
  depth: 2,
  width: 32,
  heads: 2,
  patchNums,
  vocabSize: 32,
  latentChannels: 8,
  textWidth: 384,
}

type Changes = Partial<StarConfigInput>

export function tinyParts(changes: Changes = {}): { tokenizer: Tokenizer; transformer: StarTransformer } {
  const random = new Random(1)
  const tokenizer = new Tokenizer(tokenizerConfig, { init: random })
  return { tokenizer, transformer: new StarTransformer({ ...transformerConfig, ...changes }, { init: random }) }
}

export function writeTinyModel(folder: string, name = 'tiny', changes: Changes = {}): void {
  const { tokenizer, transformer } = tinyParts(changes)
  writeModelFolder(folder, {
    config: {
      name,
      tokenizer: tokenizerConfig,
      transformer: { ...transformerConfig, ...changes },
      textEncoder: 'minilm-l6',
      sampling: { cfg: 2, topK: 16, topP: 0.9 },
    },
    tokenizer,
    transformer,
  })
  tokenizer.dispose()
  transformer.dispose()
}
