/** A model whose weights are loaded in this thread. */

import { gridOf, positionsIn } from '../models/grid.js'
import { type HubOptions, localModel, localTextEncoder } from '../models/local.js'
import {
  applyLoras,
  type LoraAdapters,
  mergeLoras,
  strangeLoras,
  type WeightedLora,
  withLoraShapes,
} from '../models/lora/index.js'
import { findModel, loadPart, type ModelSource, type SourceOptions } from '../models/source.js'
import { type ModelType, SamplerHead, StarTransformer } from '../models/star/index.js'
import type { EncodedText, TextEncoder } from '../models/text/index.js'
import { loadTextEncoder } from '../models/text/load.js'
import { downsampling, Tokenizer } from '../models/tokenizer/index.js'
import { weightsHash } from '../models/weights-hash.js'
import { native, StarError } from '../native/index.js'
import { buildIn, type WeightType } from '../nn/index.js'
import { attentionMaps, drawPictures, GraphPool, type WeightedText, withSpeed } from '../sampling/index.js'
import { fallbackNotice, keep, resolveDevice, scope } from '../tensor/index.js'
import type { AttendRequest, Drawing, DrawingModel, DrawOptions, StarInfo, WordMaps } from './drawing-model.js'
import { hashWithLoras, type LoraMode, type LoraOption, openLoras } from './loras.js'
import { describeSource } from './model-info.js'
import { drawingTypes } from './model-type.js'

export interface LoadModelOptions extends SourceOptions, Pick<HubOptions, 'offline' | 'cacheDir'> {
  device?: string
  dtype?: ModelType | 'auto'
  decoderDtype?: WeightType
  lora?: readonly LoraOption[]
  loraMode?: LoraMode
  onDownload?: HubOptions['onProgress']
  onNotice?: (message: string, about: 'device' | 'lora') => void
  signal?: AbortSignal
}

interface Networks {
  tokenizer: Tokenizer
  transformer: StarTransformer
  samplerHead: SamplerHead | null
  textEncoder: TextEncoder
  /** LoRAs that are applied beside the transformer's weights. */
  adapters: LoraAdapters[]
}

export class LoadedModel implements DrawingModel {
  readonly #graphs = new GraphPool()
  /** Of the drawing at work, or the last one. */
  #strengths: readonly number[]

  private constructor(
    readonly info: StarInfo,
    readonly networks: Networks,
  ) {
    this.#strengths = info.lora.map(({ strength }) => strength)
  }

  /** @throws as `Star.load` */
  static async load(nameOrPath: string, given: LoadModelOptions = {}): Promise<LoadedModel> {
    const { device: wanted, dtype: type, decoderDtype: decoder, lora = [], loraMode = 'apply', ...rest } = given
    const { offline, cacheDir, onDownload, onNotice, signal, ...options } = rest
    const device = resolveDevice(wanted)
    const hub: HubOptions = { offline, cacheDir, onProgress: onDownload, signal }
    const { model: name, loras } = await openLoras(nameOrPath, lora, hub)
    const here = await localModel(name, options, hub)
    const source = withLoraShapes(findModel(here.path, here.options), loras)
    const info = describeSource(source)
    const { dtype, half, decoderDtype } = drawingTypes(
      { dtype: type, decoderDtype: decoder },
      { device, stored: storedTypes(source) },
    )
    const built = { dtype: dtype === 'int8' ? half : dtype, int8: dtype === 'int8', decoderDtype }
    const networks = await loadNetworks(source, device, built, { loras, loraMode }, hub)
    const baseWeights = weightsHash(source)
    const weights = hashWithLoras(baseWeights, loras, loraMode)
    const named = loras.map(({ lora: _, ...about }) => about)
    const model = new LoadedModel({ ...info, device, dtype, weights, baseWeights, lora: named, loraMode }, networks)
    for (const line of strangeLoras(loras, source)) onNotice?.(line, 'lora')
    const notice = fallbackNotice(wanted, device)
    if (notice) onNotice?.(notice, 'device')
    return model
  }

  #loaded(): readonly number[] {
    return this.info.lora.map(({ strength }) => strength)
  }

  #apply(strengths: readonly number[]): void {
    for (const [i, adapters] of this.networks.adapters.entries()) adapters.strength = strengths[i]
  }

  /** Work that leaves the strengths of the drawing that it may lie within as they are. */
  #withStrengths<T>(strengths: readonly number[], work: () => T): T {
    this.#apply(strengths)
    try {
      return work()
    } finally {
      this.#apply(this.#strengths)
    }
  }

  async draw(drawings: readonly Drawing[], options: DrawOptions): Promise<Uint8Array[]> {
    const { settings, size, onScale, signal, lora = this.#loaded() } = options
    this.#strengths = lora
    this.#apply(lora)
    const { tokenizer, transformer, samplerHead, textEncoder } = this.networks
    const texts = drawings.flatMap(({ prompt, parts, negative }) => [
      ...(parts?.map((part) => part.prompt) ?? [prompt]),
      ...(negative === undefined ? [] : [negative]),
    ])
    const prompts = [...new Set([...texts, ''])]
    const row = (prompt: string): number => prompts.indexOf(prompt)
    const most = Math.max(1, ...drawings.map(({ parts }) => parts?.length ?? 1))
    // As many texts for each picture: some without weight where it has fewer.
    const weighted = (parts: NonNullable<Drawing['parts']>): WeightedText[] =>
      Array.from({ length: most }, (_, j) => ({
        row: row(parts[j % parts.length].prompt),
        weight: parts[j]?.weight ?? 0,
      }))
    const text = encoded(textEncoder, prompts)
    try {
      return await drawPictures({
        tokenizer,
        transformer,
        samplerHead,
        graphs: this.#graphs,
        text,
        empty: row(''),
        pictures: drawings.map(({ prompt, parts, negative, ...drawing }) => ({
          ...drawing,
          prompt: most === 1 ? row(prompt) : weighted(parts ?? [{ prompt, weight: 1 }]),
          negative: negative === undefined ? undefined : row(negative),
        })),
        settings: withSpeed(settings, this.info),
        size,
        signal,
        onScale: onScale && (({ preview, ...event }) => onScale({ ...event, preview: async () => preview() })),
      })
    } finally {
      for (const tensor of Object.values(text)) tensor.dispose()
    }
  }

  async attend({ prompts, pixels, size, scales, blocks, lora = this.#loaded() }: AttendRequest): Promise<WordMaps[]> {
    const { tokenizer, transformer, textEncoder } = this.networks
    const patch = downsampling(tokenizer.config)
    const grid = gridOf(size ?? { width: this.info.imageSize, height: this.info.imageSize }, patch)
    const text = encoded(textEncoder, prompts)
    try {
      const maps = await attentionMaps({
        ...{ tokenizer, transformer, text, pixels, grid, scales, blocks },
        within: (work) => this.#withStrengths(lora, work),
      })
      const length = text.states.dim(1)
      return maps.map((map, i) => ({
        ...grid,
        words: textEncoder.words(prompts[i]).map(({ word, begin, end }) => ({
          word,
          map: Float32Array.from({ length: positionsIn(grid) }, (_, position) =>
            map.subarray(position * length + begin, position * length + end).reduce((sum, value) => sum + value, 0),
          ),
        })),
      }))
    } finally {
      for (const tensor of Object.values(text)) tensor.dispose()
    }
  }

  async dispose(): Promise<void> {
    this.#graphs.dispose()
    const { adapters, ...networks } = this.networks
    for (const network of [...adapters, ...Object.values(networks)]) network?.dispose()
    // Whoever frees a model wants its memory for something else, maybe for another program.
    native.trimMemory(this.info.device)
  }
}

/** Encoded prompts, the caller's. */
function encoded(encoder: TextEncoder, prompts: readonly string[]): Omit<EncodedText, 'lengths'> {
  const { lengths: _, ...text } = scope(() => encoder.encode(prompts, { trim: true }))
  for (const tensor of Object.values(text)) keep(tensor)
  return text
}

async function loadNetworks(
  source: ModelSource,
  device: string,
  { dtype, int8, decoderDtype }: { dtype: WeightType; int8: boolean; decoderDtype: WeightType },
  { loras, loraMode }: { loras: readonly WeightedLora[]; loraMode: LoraMode },
  hub: HubOptions,
): Promise<Networks> {
  const { path, transformer: config, textEncoder: encoderName } = source
  if (!config)
    throw new StarError(
      'ERR_CONFIG',
      `${path} holds a tokenizer only, which draws no pictures of prompts: train a transformer on it ("star train")`,
    )
  if (!encoderName)
    throw new StarError(
      'ERR_CONFIG',
      `${path} does not say its text encoder: name the one it was trained with (textEncoder, --text-encoder), such as the folder of CLIP`,
    )
  const owned: { dispose(): void }[] = []
  const own = <T extends { dispose(): void }>(part: T): T => {
    owned.push(part)
    return part
  }
  try {
    const tokenizer = own(new Tokenizer(source.tokenizer, { init: null, device }))
    loadPart(source, 'tokenizer', tokenizer)
    if (decoderDtype !== 'f32') tokenizer.decodeIn(decoderDtype)
    const transformer = own(buildIn(dtype, () => new StarTransformer(config, { init: null, device, int8 })))
    loadPart(source, 'transformer', transformer)
    const samplerHead = source.samplerHead
      ? own(buildIn(dtype, () => new SamplerHead(config, { init: null, device, int8 })))
      : null
    if (samplerHead) loadPart(source, 'sampler-head', samplerHead)
    const textEncoder = own(loadTextEncoder(await localTextEncoder(encoderName, hub), device))
    if (textEncoder.width !== config.textWidth)
      throw new StarError(
        'ERR_CONFIG',
        `${path}: the transformer takes text of width ${config.textWidth}, but ${encoderName} ` +
          `gives ${textEncoder.width}: name the text encoder it was trained with`,
      )
    for (const network of [tokenizer, transformer, samplerHead]) network?.setTrainable(false)
    if (loraMode === 'merge') mergeLoras(transformer, source, loras)
    const adapters = loraMode === 'apply' ? applyLoras(transformer, source, loras) : []
    return { tokenizer, transformer, samplerHead, textEncoder, adapters }
  } catch (error) {
    for (const part of owned) part.dispose()
    throw error
  }
}

/** Element types of the transformer's weights in its file; none where there is no transformer. */
function storedTypes(source: ModelSource): Set<string> {
  if (!source.transformer) return new Set()
  using weights = source.open('transformer')
  return new Set(Array.from(weights.entries, ({ dtype }) => dtype))
}
