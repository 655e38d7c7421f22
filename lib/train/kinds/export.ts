/** The model for use that a run makes: the part that was trained beside those that were not. */
import { parseConfig } from '../../config/parse-config.js'
import { loadPart, type ModelSource } from '../../models/source.js'
import { StarTransformer, starConfigSchema } from '../../models/star/index.js'
import { Tokenizer, tokenizerSchema } from '../../models/tokenizer/index.js'
import type { Module } from '../../nn/index.js'
import { type ModelFolderContent, type ModelPart, type NamedTensors, writeModelFolder } from '../../weights/index.js'
import type { RunSpec } from './run-spec.js'
import type { FrozenParts } from './task.js'

export interface Exported {
  /** What the model says of itself. */
  config: ModelFolderContent['config']
  /** The weights of the trained part, in f32. */
  trained: NamedTensors
  /** Parts that were not trained, as far as they are at hand; the others are read from `source`. */
  frozen: FrozenParts
  source: ModelSource | null
}

function moduleOf(part: ModelPart, { tokenizer, transformer }: Exported['config']): Module {
  const options = { init: null, device: 'cpu' }
  return part === 'tokenizer'
    ? new Tokenizer(parseConfig(tokenizerSchema, tokenizer, '"tokenizer" of the model'), options)
    : new StarTransformer(parseConfig(starConfigSchema, transformer, '"transformer" of the model'), options)
}

/** @throws ERR_FILE when it cannot be written, or when weights are not in `source` any more */
export function exportModel(folder: string, spec: Pick<RunSpec, 'part' | 'frozen'>, exported: Exported): void {
  const { config, trained, frozen, source } = exported
  const parts: FrozenParts = { ...frozen, [spec.part]: trained }
  const loaded: Module[] = []
  try {
    for (const part of spec.frozen) {
      if (parts[part] || !source) continue
      const module = moduleOf(part, config)
      loaded.push(module)
      loadPart(source, part, module)
      parts[part] = module
    }
    const { tokenizer = trained, transformer, 'sampler-head': samplerHead } = parts
    // A tokenizer alone is what others are trained on.
    const dtype = spec.part === 'tokenizer' ? 'f32' : 'f16'
    writeModelFolder(folder, { config, tokenizer, transformer, samplerHead, dtype })
  } finally {
    for (const module of loaded) module.dispose()
  }
}
