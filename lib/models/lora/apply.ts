/** LoRAs put on a transformer. */
import { quoted, StarError } from '../../native/index.js'
import { scope } from '../../tensor/index.js'
import type { ModelSource } from '../source.js'
import type { StarTransformer } from '../star/index.js'
import { imageSide } from '../tokenizer/index.js'
import { transformerHash } from '../weights-hash.js'
import { LoraAdapters, loraLayers } from './adapters.js'
import type { LoraFile } from './files.js'

/** A LoRA and how strongly it is applied. */
export interface WeightedLora {
  lora: LoraFile
  /** 1: as it was trained, 0: not at all; beyond 1 and below 0 it may be too. */
  strength: number
}

/** @throws ERR_SHAPE for a LoRA whose matrices are not those of the transformer */
function expectFit(lora: LoraFile, transformer: StarTransformer, source: ModelSource): void {
  const layers = loraLayers(transformer)
  const wrong = Array.from(lora.shapes).flatMap(([name, { outputs, inputs }]) => {
    const shape = layers.get(name)?.weight.shape
    if (!shape) return [`${quoted(name)} is not there`]
    return shape[0] === outputs && shape[1] === inputs
      ? []
      : [`${name} is (${outputs}, ${inputs}) there and (${shape.join(', ')}) here`]
  })
  if (wrong.length === 0) return
  throw new StarError(
    'ERR_SHAPE',
    `${lora.path} is a LoRA of another model than ${source.name}${lora.base.name ? `, of ${lora.base.name}` : ''}: ` +
      `${wrong.length} of its ${lora.shapes.size} matrices do not fit (${wrong[0]})`,
  )
}

/** Whether the matrices of a LoRA are those of a model's transformer, by names and shapes alone. */
export function loraFits(lora: LoraFile, source: ModelSource): boolean {
  using weights = source.open('transformer')
  const shapes = new Map(Array.from(weights.entries, ({ name, shape }) => [name, shape] as const))
  return Array.from(lora.shapes).every(([name, { outputs, inputs }]) => {
    const shape = shapes.get(`${name}.weight`)
    return shape?.length === 2 && shape[0] === outputs && shape[1] === inputs
  })
}

/**
 * What the user may want to know of LoRAs that fit by their shapes but were trained on other weights: a line each.
 * @throws ERR_FILE for damaged weights of the model
 */
export function strangeLoras(loras: readonly WeightedLora[], source: ModelSource): string[] {
  if (loras.every(({ lora }) => lora.base.hash === null)) return []
  const hash = transformerHash(source)
  return loras.flatMap(({ lora: { path, base } }) =>
    base.hash === null || base.hash === hash
      ? []
      : [
          `${path} was trained on ${base.name ?? 'another model'} (weights ${base.hash.slice(0, 12)}), not on the weights of ${source.name} (${hash.slice(0, 12)}): what it learnt may not show`,
        ],
  )
}

/** A model that also knows the sizes of pictures that its LoRAs were trained on. */
export function withLoraShapes(source: ModelSource, loras: readonly Pick<WeightedLora, 'lora'>[]): ModelSource {
  const learnt = loras.flatMap(({ lora }) => lora.pictures)
  if (learnt.length === 0) return source
  const side = imageSide(source.tokenizer)
  const shapes = [...(source.shapes ?? [[side, side] as const]), ...learnt]
  return {
    ...source,
    shapes: shapes.filter(([w, h], i) => shapes.findIndex((own) => own[0] === w && own[1] === h) === i),
  }
}

function attach(transformer: StarTransformer, source: ModelSource, loras: readonly WeightedLora[]): LoraAdapters[] {
  const made: LoraAdapters[] = []
  try {
    for (const { lora, strength } of loras) {
      expectFit(lora, transformer, source)
      const adapters = new LoraAdapters(transformer, lora.shapes, { init: null, device: transformer.device })
      made.push(adapters)
      adapters.strength = strength
      adapters.setTrainable(false)
      scope(() => adapters.load(lora.tensors()))
    }
    return made
  } catch (error) {
    for (const adapters of made) adapters.dispose()
    throw error
  }
}

/**
 * Puts LoRAs on a transformer, in whose element type they are applied beside its weights.
 * @returns the updates, which the caller disposes
 * @throws ERR_SHAPE for a LoRA of another model, ERR_FILE for a damaged one
 */
export function applyLoras(
  transformer: StarTransformer,
  source: ModelSource,
  loras: readonly WeightedLora[],
): LoraAdapters[] {
  const { dtype } = transformer
  const made = attach(transformer, source, loras)
  if (dtype === 'f16' || dtype === 'bf16')
    for (const adapters of made) for (const single of adapters.toHalf(dtype).values()) single.dispose()
  return made
}

/** Adds LoRAs to the weights of a transformer: in f32, rounded to the weights' type once. @throws as `applyLoras` */
export function mergeLoras(transformer: StarTransformer, source: ModelSource, loras: readonly WeightedLora[]): void {
  const made = attach(transformer, source, loras)
  for (const layer of loraLayers(transformer).values()) layer.mergeUpdates()
  for (const adapters of made) adapters.dispose()
}
