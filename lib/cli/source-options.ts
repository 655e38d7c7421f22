/** Options that say where a model comes from, and of a checkpoint what it does not say itself. */
import { type Command, Option } from 'commander'
import type { HubOptions, HubProgress } from '../models/local.js'
import type { SourceOptions } from '../models/source.js'
import { StarError } from '../native/error.js'
import { Interrupted } from './interrupt.js'
import { Progress } from './progress.js'

export interface SourceFlags {
  tokenizer?: string
  textEncoder?: string
  scales?: number[]
  crossAttention?: SourceOptions['crossAttention']
  offline?: boolean
}

function scales(text: string): number[] {
  const sides = text.split(/[\s,]+/).map(Number)
  if (!sides.every((side) => Number.isSafeInteger(side) && side > 0))
    throw new StarError('ERR_ARGUMENT', `--scales is "${text}", expected whole numbers such as "1 2 3 4 6 8"`)
  return sides
}

export function addSourceOptions(command: Command): Command {
  return command
    .option('--tokenizer <file>', 'of a checkpoint: the tokenizer’s weights (default: inside it or beside it)')
    .option('--text-encoder <name>', 'of a checkpoint: name or folder of the text encoder it was trained with')
    .option('--scales <sides>', 'of a checkpoint: sides of its token maps, such as "1 2 3 4 6 8"', scales)
    .addOption(
      new Option(
        '--cross-attention <mode>',
        'of a checkpoint: whose text a picture attends to (default: first-sample, as published)',
      ).choices(['per-sample', 'first-sample']),
    )
    .option('--offline', 'of a Hugging Face model: use what was downloaded before (default: HF_HUB_OFFLINE)')
}

export const sourceOptions = ({ tokenizer, textEncoder, scales, crossAttention }: SourceFlags): SourceOptions => ({
  tokenizer,
  textEncoder,
  patchNums: scales,
  crossAttention,
})

/** Runs what may download, with a bar; Ctrl-C says that nothing is lost. */
export async function downloading<T>(
  offline: boolean | undefined,
  signal: AbortSignal,
  work: (options: HubOptions) => Promise<T>,
): Promise<T> {
  using progress = new Progress('downloading')
  const onProgress = ({ file, done, total }: HubProgress): void =>
    progress.update(Math.round(done / 1e6), Math.round(total / 1e6), `MB ${file}`)
  try {
    return await work({ offline, signal, onProgress })
  } catch (error) {
    if (signal.aborted)
      throw new Interrupted('stopped: what was downloaded is kept, and the next time it resumes from there')
    throw error
  }
}
