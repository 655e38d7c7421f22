/** A model with LoRAs in its weights, as a model folder. */

import { StarError } from '../../native/index.js'
import type { Module } from '../../nn/index.js'
import { type ModelPart, writeModelFolder } from '../../weights/index.js'
import { loadPart, type ModelSource } from '../source.js'
import { SamplerHead, StarTransformer } from '../star/index.js'
import { Tokenizer } from '../tokenizer/index.js'
import { mergeLoras, type WeightedLora, withLoraShapes } from './apply.js'

export interface MergeOptions {
  /** Name of the new model. */
  name: string
  /** Element type of its files; default: f16 where the model's files are f16 throughout, else f32. */
  dtype?: 'f32' | 'f16'
}

const halfThroughout = (source: ModelSource, parts: readonly ModelPart[]): boolean =>
  parts.every((part) => {
    using weights = source.open(part)
    return Array.from(weights.entries).every(({ dtype }) => dtype === 'F16')
  })

/**
 * Writes a model folder with the weights W + Σ strength·scale·B·A, computed in f32.
 * @throws ERR_CONFIG for a model without a transformer, ERR_SHAPE for a LoRA of another model, ERR_FILE for damaged files
 */
export function writeMergedModel(
  folder: string,
  source: ModelSource,
  loras: readonly WeightedLora[],
  { name, dtype }: MergeOptions,
): void {
  const { tokenizer: tokenizerConfig, transformer: config } = source
  if (!config)
    throw new StarError(
      'ERR_CONFIG',
      `${source.path} holds a tokenizer only, and LoRAs are of transformers: name another`,
    )
  const parts: ModelPart[] = ['tokenizer', 'transformer', ...(source.samplerHead ? (['sampler-head'] as const) : [])]
  const loaded: Module[] = []
  const load = <M extends Module>(part: ModelPart, module: M): M => {
    loaded.push(module)
    loadPart(source, part, module)
    return module
  }
  const options = { init: null, device: 'cpu' }
  try {
    const tokenizer = load('tokenizer', new Tokenizer(tokenizerConfig, options))
    const transformer = load('transformer', new StarTransformer(config, options))
    const samplerHead = source.samplerHead ? load('sampler-head', new SamplerHead(config, options)) : undefined
    mergeLoras(transformer, source, loras)
    writeModelFolder(folder, {
      config: {
        name,
        tokenizer: tokenizerConfig,
        transformer: config,
        textEncoder: source.textEncoder ?? undefined,
        sampling: { ...source.sampling },
        speeds: { ...source.speeds },
        startedFrom: source.startedFrom ?? undefined,
        shapes: withLoraShapes(source, loras).shapes?.map(([width, height]): [number, number] => [width, height]),
      },
      tokenizer,
      transformer,
      samplerHead,
      card: cardOf(source, loras, name),
      dtype: dtype ?? (halfThroughout(source, parts) ? 'f16' : 'f32'),
    })
  } finally {
    for (const module of loaded) module.dispose()
  }
}

function cardOf(source: ModelSource, loras: readonly WeightedLora[], name: string): string {
  const list = loras.map(({ lora, strength }) => `- ${lora.name}, strength ${strength}`).join('\n')
  return `# ${name}\n\nThe model ${source.name} with these LoRAs in its weights:\n\n${list}\n\nThe licence of ${source.name} applies to it.\n`
}
