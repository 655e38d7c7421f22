/** The LoRAs that a model is loaded with. */
import { createHash } from 'node:crypto'
import { type HubOptions, localLora } from '../models/local.js'
import { isLora, loraHash, openLora, type WeightedLora } from '../models/lora/index.js'
import { StarError } from '../native/index.js'

/** A LoRA to draw with. */
export interface LoraOption {
  /** Its folder or file, or its name on Hugging Face. */
  path: string
  /** How strongly it is applied: 1, the default, as it was trained, 0 not at all. */
  strength?: number
}

/**
 * How LoRAs are put to use: `apply` keeps the weights and adds the update to each product, `merge` adds the updates to the weights
 * while loading. Merged costs no time while drawing; in 16 bits it rounds.
 */
export type LoraMode = 'apply' | 'merge'
export const loraModes = ['apply', 'merge'] as const satisfies readonly LoraMode[]

/** A LoRA that a model draws with. */
export interface LoraInfo {
  /** Of its folder or file. */
  name: string
  /** As it was given. */
  path: string
  /** How strongly it is applied. */
  strength: number
  /** SHA-256 of its matrices, in hexadecimal. */
  hash: string
}

export interface OpenedLoras {
  /** The model that they are put on. */
  model: string
  loras: (WeightedLora & LoraInfo)[]
}

/**
 * Opens the LoRAs of a model. Where the model's own path is that of a LoRA, it stands for the model it was trained on and itself.
 * @throws ERR_FILE and ERR_CONFIG as `openLora`, ERR_CONFIG for a LoRA as model that does not say what it was trained on
 */
export async function openLoras(
  nameOrPath: string,
  given: readonly LoraOption[],
  hub: HubOptions,
): Promise<OpenedLoras> {
  const itself = isLora(nameOrPath)
  const wanted = itself ? [{ path: nameOrPath }, ...given] : given
  const loras: OpenedLoras['loras'] = []
  for (const { path, strength = 1 } of wanted) {
    const lora = openLora(await localLora(path, hub))
    loras.push({ lora, name: lora.name, path, strength, hash: loraHash(lora) })
  }
  if (!itself) return { model: nameOrPath, loras }
  const { name } = loras[0].lora.base
  if (name) return { model: name, loras }
  throw new StarError(
    'ERR_CONFIG',
    `${nameOrPath} is a LoRA that does not say which model it belongs to: name the model, and give this as its LoRA`,
  )
}

/** The hash of a model's weights with its LoRAs: that of the model where none is at work. */
export function hashWithLoras(
  weights: string,
  loras: readonly Pick<LoraInfo, 'hash' | 'strength'>[],
  mode: LoraMode,
): string {
  const active = loras.filter(({ strength }) => strength !== 0)
  if (active.length === 0) return weights
  const sum = createHash('sha256').update(`${weights} ${mode}`)
  for (const { hash, strength } of active) sum.update(`\0${hash} ${strength}`)
  return sum.digest('hex')
}

/**
 * The LoRAs of a model as a call wants them: those that it names with its strengths, all others with 0; without a choice as they were
 * loaded.
 * @throws ERR_ARGUMENT for one that was not loaded, one that is named twice, and for LoRAs that were merged into the weights
 */
export function chosenLoras(
  { name, lora: loaded, loraMode }: { name: string; lora: readonly LoraInfo[]; loraMode: LoraMode },
  wanted: readonly LoraOption[] | undefined,
): readonly LoraInfo[] {
  if (!wanted) return loaded
  if (loraMode === 'merge')
    throw new StarError(
      'ERR_ARGUMENT',
      `"lora": the LoRAs of ${name} were merged into its weights: load it with loraMode "apply" to choose them for each call`,
    )
  const strengths = new Map<string, number>()
  for (const { path, strength = 1 } of wanted) {
    const reason = strengths.has(path)
      ? 'is named twice'
      : loaded.some((lora) => lora.path === path)
        ? null
        : `was not loaded with ${name}, which has ${loaded.map((lora) => `"${lora.path}"`).join(', ') || 'none'}`
    if (reason) throw new StarError('ERR_ARGUMENT', `"lora": "${path.slice(0, 200)}" ${reason}`)
    strengths.set(path, strength)
  }
  return loaded.map((lora) => ({ ...lora, strength: strengths.get(lora.path) ?? 0 }))
}
