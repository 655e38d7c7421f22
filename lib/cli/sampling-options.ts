/** Options that say how tokens are drawn and pixels rounded. */
import { type Command, Option } from 'commander'
import { number, wholeNumber } from './options.js'

export interface SamplingFlags {
  cfg?: number
  topK?: number
  topP?: number
  moreSmooth?: boolean
  speed?: 'full' | 'fast' | 'turbo'
  pixels?: 'round' | 'truncate'
}

export function addSamplingOptions(command: Command): Command {
  return command
    .option('--cfg <x>', 'strength of guidance; 0 turns it off (default: the model’s)', number('--cfg', 0, 1000))
    .option(
      '--top-k <n>',
      'draw from the n most probable tokens; 0: all (default: the model’s)',
      wholeNumber('--top-k', 0),
    )
    .option(
      '--top-p <x>',
      'draw from tokens of this probability together; 0: all (default: the model’s)',
      number('--top-p', 0, 1),
    )
    .option('--more-smooth', 'mix tokens softly: smoother pictures')
    .addOption(
      new Option(
        '--speed <preset>',
        'fast: guidance ends before the last scales; turbo: most of their tokens are left out too (default: the model’s)',
      ).choices(['full', 'fast', 'turbo']),
    )
    .addOption(
      new Option('--pixels <rule>', 'round pixel values, or truncate them as the reference implementation').choices([
        'round',
        'truncate',
      ]),
    )
}
