/** Options that name LoRAs and how strongly they are applied. */
import { existsSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { LoraOption } from '../engine/loras.js'
import { StarError } from '../native/error.js'
import type { LoadOptions } from '../star.js'

export interface LoraFlags {
  lora?: LoraOption[]
  loraMode?: LoadOptions['loraMode']
}

/** `PATH`, or `PATH:STRENGTH`. @throws ERR_ARGUMENT for a strength that is no number */
export function parseLora(text: string): LoraOption {
  const at = text.lastIndexOf(':')
  // A path may have a colon itself.
  if (at < 1 || existsSync(text)) return { path: text }
  const strength = text.slice(at + 1).trim() === '' ? Number.NaN : Number(text.slice(at + 1))
  if (!Number.isFinite(strength))
    throw new StarError(
      'ERR_ARGUMENT',
      `the strength in "${text}" is "${text.slice(at + 1)}", expected a number: give a LoRA as PATH or PATH:STRENGTH, such as styles/flat:0.8`,
    )
  return { path: text.slice(0, at), strength }
}

export function addLoraOptions(command: Command): Command {
  return command
    .option(
      '--lora <path[:strength]>',
      'a LoRA to draw with, applied once or as strongly as said; may be given again, several add up',
      (text: string, before: LoraOption[] = []) => [...before, parseLora(text)],
    )
    .addOption(
      new Option(
        '--lora-mode <mode>',
        'apply LoRAs beside the weights, or merge them into the weights while loading (default: apply)',
      ).choices(['apply', 'merge']),
    )
}

export const loraOptions = ({ lora, loraMode }: LoraFlags): Pick<LoadOptions, 'lora' | 'loraMode'> => ({
  lora,
  loraMode,
})
