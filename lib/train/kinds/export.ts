/** The model for use that a run makes: the part that was trained beside those that were not. */
import { parseConfig } from '../../config/parse-config.js'
import { loadPart } from '../../models/source.js'
import { StarTransformer, starConfigSchema } from '../../models/star/index.js'
import { Tokenizer, tokenizerSchema } from '../../models/tokenizer/index.js'
import { StarError } from '../../native/index.js'
import type { Module } from '../../nn/index.js'
import { type ModelPart, writeModelFolder } from '../../weights/index.js'
import type { RunConfig } from './index.js'
import type { Exported, RunSpec } from './run-spec.js'
import type { FrozenParts } from './task.js'

function moduleOf(part: ModelPart, { tokenizer, transformer }: Exported['config']): Module {
  const options = { init: null, device: 'cpu' }
  return part === 'tokenizer'
    ? new Tokenizer(parseConfig(tokenizerSchema, tokenizer, '"tokenizer" of the model'), options)
    : new StarTransformer(parseConfig(starConfigSchema, transformer, '"transformer" of the model'), options)
}

/** Writes what a run makes into a folder. */
export type Exporter = (folder: string, exported: Exported) => void

/** How a run of this configuration writes what it makes: a model folder, unless its kind has a way of its own. */
export async function exporterOf(spec: RunSpec<RunConfig>, config: RunConfig): Promise<Exporter> {
  const { exportTo } = await spec.load()
  return (folder, exported) => (exportTo ? exportTo(folder, config, exported) : exportModel(folder, spec, exported))
}

/** @throws ERR_FILE when it cannot be written, or when weights are not in `source` any more */
function exportModel(folder: string, spec: RunSpec<RunConfig>, exported: Exported): void {
  const { config, trained, frozen, source } = exported
  if (!spec.part)
    throw new StarError('ERR_INTERNAL', `${spec.title}: no part of a model is trained, and no other export is known`)
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
