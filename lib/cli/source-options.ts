/** Options that say where a model comes from, and of a checkpoint what it does not say itself. */
import { type Command, Option } from 'commander'
import type { HubOptions, HubProgress } from '../models/local.js'
import type { SourceOptions } from '../models/source.js'
import type { ReleasedOptions } from '../models/star/index.js'
import { StarError } from '../native/error.js'
import { Interrupted } from './interrupt.js'
import { number } from './options.js'
import { Progress } from './progress.js'

export interface ReleasedFlags {
  scales?: number[]
  crossAttention?: SourceOptions['crossAttention']
  ropeTheta?: number
  ropeNorm?: number
  sampleVersion?: SourceOptions['version']
}

export interface SourceFlags extends ReleasedFlags {
  tokenizer?: string
  textEncoder?: string
  offline?: boolean
}

function scales(text: string): number[] {
  const sides = text.split(/[\s,]+/).map(Number)
  if (!sides.every((side) => Number.isSafeInteger(side) && side > 0))
    throw new StarError('ERR_ARGUMENT', `--scales is "${text}", expected whole numbers such as "1 2 3 4 6 8"`)
  return sides
}

/** Options for what tensors cannot tell of a transformer: of a checkpoint that is loaded or converted. */
export function addReleasedOptions(command: Command): Command {
  return command
    .option('--scales <sides>', 'of a checkpoint: sides of its token maps, such as "1 2 3 4 6 8"', scales)
    .addOption(
      new Option(
        '--cross-attention <mode>',
        'of a checkpoint: whose text a picture attends to (default: first-sample, as published)',
      ).choices(['per-sample', 'first-sample']),
    )
    .option('--rope-theta <x>', 'of a checkpoint: base of its rotations (default: 10000)', number('--rope-theta', 1e-6))
    .option(
      '--rope-norm <x>',
      'of a checkpoint: largest coordinate of its rotations (default: 64)',
      number('--rope-norm', 1e-6),
    )
    .addOption(
      new Option(
        '--sample-version <version>',
        'of a checkpoint: rules of sampling; old also stands for --rope-theta 100 --rope-norm 32',
      ).choices(['1024', 'new', 'old']),
    )
}

export function addSourceOptions(command: Command): Command {
  return addReleasedOptions(command)
    .option('--tokenizer <file>', 'of a checkpoint: the tokenizer’s weights (default: inside it or beside it)')
    .option('--text-encoder <name>', 'of a checkpoint: name or folder of the text encoder it was trained with')
    .option('--offline', 'of a Hugging Face model: use what was downloaded before (default: HF_HUB_OFFLINE)')
}

export const releasedOptions = ({ scales, crossAttention, ...flags }: ReleasedFlags): ReleasedOptions => ({
  patchNums: scales,
  crossAttention,
  ropeTheta: flags.ropeTheta,
  ropeNorm: flags.ropeNorm,
  version: flags.sampleVersion,
})

export const sourceOptions = ({ tokenizer, textEncoder, ...flags }: SourceFlags): SourceOptions => ({
  tokenizer,
  textEncoder,
  ...releasedOptions(flags),
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
