/** The LoRAs that a server offers: found in folders, each with the models whose matrices it updates. */
import { readdirSync, statSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import type { LoraOption } from '../../engine/loras.js'
import { isLora, type LoraFile, loraFits, openLora } from '../../models/lora/index.js'
import { findModel, type SourceOptions } from '../../models/source.js'
import { StarError } from '../../native/error.js'

/** A LoRA that requests for a model may choose. */
export interface OfferedLora {
  /** In the API; each has another. */
  name: string
  /** What the model is loaded with. */
  path: string
  /** How strongly it is applied where a request says nothing. */
  strength: number
}

/** A LoRA whose header was read, with the path that it was found at. */
export interface FoundLora {
  path: string
  file: LoraFile
}

/** Paths of the LoRAs in a folder: files of weights, folders of one LoRA, and run folders. */
function inFolder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name)
      if (entry.isFile()) return extname(entry.name) === '.safetensors' ? [path] : []
      return [path, join(path, 'model')].find(isLora) ?? []
    })
}

/**
 * The LoRAs that paths name: LoRAs, or folders of them.
 * @throws ERR_FILE where there are none, or one is damaged, ERR_CONFIG as `openLora`
 */
export function findLoras(paths: readonly string[]): FoundLora[] {
  return paths.flatMap((path) => {
    const info = statSync(path, { throwIfNoEntry: false })
    if (!info) throw new StarError('ERR_FILE', `${path} does not exist: give a LoRA, or a folder of LoRAs`)
    const found = info.isDirectory() && !isLora(path) ? inFolder(path) : [path]
    if (found.length === 0)
      throw new StarError(
        'ERR_FILE',
        `${path} holds no LoRA: expected folders as "star train-lora" and PEFT write them, with adapter_model.safetensors, or .safetensors files`,
      )
    return found.map((one) => ({ path: one, file: openLora(one) }))
  })
}

export interface LorasOfModel {
  /** Name or path of the model, which may be that of a LoRA. */
  source: string
  /** Where the model lies on this machine. */
  path: string
  options: SourceOptions
  /** Those that are at work by default. */
  given: readonly LoraOption[]
  found: readonly FoundLora[]
}

/** What requests for a model may choose: itself where it is a LoRA, those it is loaded with, and all others that fit. */
export function lorasOf({ source, path, options, given, found }: LorasOfModel): OfferedLora[] {
  const itself = isLora(source) ? [{ path: source, strength: 1 }] : []
  const base = itself.length > 0 ? (openLora(source).base.name ?? path) : path
  const model = found.length > 0 ? findModel(base, options) : null
  const fitting = found
    .filter(({ file }) => model && loraFits(file, model))
    .map((one) => ({ path: one.path, strength: 0 }))
  const offered: OfferedLora[] = []
  for (const { path, strength = 1 } of [...itself, ...given, ...fitting]) {
    if (offered.some((lora) => lora.path === path)) continue
    const last = basename(path) === 'model' ? basename(join(path, '..')) : basename(path, '.safetensors')
    const taken = (name: string): boolean => offered.some((lora) => lora.name === name)
    let name = last
    for (let i = 2; taken(name); i++) name = `${last}-${i}`
    offered.push({ name, path, strength })
  }
  return offered
}
