/** Options that say of a checkpoint what it does not say itself. */
import { type Command, Option } from 'commander'
import type { SourceOptions } from '../models/source.js'
import { StarError } from '../native/error.js'

export interface SourceFlags {
  tokenizer?: string
  textEncoder?: string
  scales?: number[]
  crossAttention?: SourceOptions['crossAttention']
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
}

export const sourceOptions = ({ tokenizer, textEncoder, scales, crossAttention }: SourceFlags): SourceOptions => ({
  tokenizer,
  textEncoder,
  patchNums: scales,
  crossAttention,
})
