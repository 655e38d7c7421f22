/** A LoRA of a transformer: low-rank updates of the matrices in its blocks. */
import { StarError } from '../../native/index.js'
import { Linear, LowRank, Module } from '../../nn/index.js'
import type { Random, Tensor } from '../../tensor/index.js'
import type { StarTransformer } from '../star/index.js'
import { type LoraTarget, loraTargets } from './targets.js'

/** Rank and scale of the update of one matrix. */
export interface LoraShape {
  rank: number
  /** α/r */
  scale: number
}

/** The matrices of a transformer that can be updated, by name: `blocks.0.attn.mat_qkv`. */
export function loraLayers(transformer: StarTransformer): Map<string, Linear> {
  const places = new Set<string>(Object.values(loraTargets).flat())
  const layers = new Map<string, Linear>()
  for (const { name, module } of transformer.modules()) {
    const place = /^blocks\.\d+\.(.+)$/.exec(name)?.[1]
    if (module instanceof Linear && place !== undefined && places.has(place)) layers.set(name, module)
  }
  return layers
}

/** Names of the matrices of some groups. */
export function layersOf(transformer: StarTransformer, targets: readonly LoraTarget[]): string[] {
  const places = targets.flatMap((target) => loraTargets[target].map((place) => `.${place}`))
  return [...loraLayers(transformer).keys()].filter((name) => places.some((place) => name.endsWith(place)))
}

/**
 * Low-rank updates of some matrices of a transformer, named as these. They are at work as soon as they are made; the
 * transformer's own weights are not touched.
 */
export class LoraAdapters extends Module {
  readonly #updates = new Map<string, { layer: Linear; update: LowRank }>()

  /**
   * @param shapes of the update of each matrix, by its name
   * @param init of the first values; null: zeros, for weights that are loaded
   * @throws ERR_SHAPE for a matrix that the transformer does not have
   */
  constructor(
    transformer: StarTransformer,
    shapes: ReadonlyMap<string, LoraShape>,
    { init, device }: { init: Random | null; device?: string },
  ) {
    super()
    const layers = loraLayers(transformer)
    const unknown = [...shapes.keys()].filter((name) => !layers.has(name))
    if (unknown.length > 0)
      throw new StarError(
        'ERR_SHAPE',
        `it updates ${unknown.slice(0, 3).join(', ')}${unknown.length > 3 ? ` and ${unknown.length - 3} more` : ''}, which the transformer does not have`,
      )
    for (const [name, { rank, scale }] of shapes) {
      const layer = layers.get(name)!
      const { inputs, outputs } = layer
      const update = this.child(name, new LowRank(inputs, outputs, { rank, scale, init, device }))
      layer.updates.push(update)
      this.#updates.set(name, { layer, update })
    }
  }

  /** Keys and values of the text are made before the rest of their block. */
  override parametersByUse(): Tensor[] {
    const blockOf = (name: string): number => 2 * Number(name.split('.')[1]) + (name.endsWith('.mat_kv') ? 0 : 1)
    const names = [...this.#updates.keys()].sort((a, b) => blockOf(a) - blockOf(b))
    return names.flatMap((name) => this.#updates.get(name)!.update.parameters())
  }

  /** How strongly all updates are applied: 1 as trained, 0 not at all. */
  set strength(strength: number) {
    for (const { update } of this.#updates.values()) update.strength = strength
  }

  /** Takes the updates off the transformer, which is then as it was before. */
  detach(): void {
    for (const { layer, update } of this.#updates.values()) {
      const at = layer.updates.indexOf(update)
      if (at >= 0) layer.updates.splice(at, 1)
    }
  }

  override dispose(): void {
    this.detach()
    super.dispose()
  }
}
