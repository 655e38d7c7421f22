/** `star ckpt`: the checkpoints of a run: which there are, what is in one, and a model for use made from it. */
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import type { CheckpointDescription, CheckpointEntry } from '../train/checkpoint/checkpoint-report.js'
import { Interrupted, interruptible } from './interrupt.js'
import { wholeNumber } from './options.js'
import { Progress } from './progress.js'
import { megabytes, millions, table } from './text.js'

interface Flags {
  step?: number
  best?: boolean
  json?: boolean
}

export function addCheckpointCommands(star: Command): void {
  const ckpt = star.command('ckpt').description('list, show and export the checkpoints of a run')
  const choosing = (command: Command): Command =>
    command
      .option(
        '--step <n>',
        'of a run folder: the checkpoint of this step (default: the newest whole one)',
        wholeNumber('--step', 0),
      )
      .option('--best', 'of a run folder: the best on held-out images')

  ckpt
    .command('list')
    .description('the checkpoints of a run, newest first, read from end to end')
    .argument('<run>', 'a run folder')
    .option('--json', 'print one JSON array')
    .addHelpText('after', '\nExample:\n  $ star ckpt list runs/emoji-64')
    .action(async (run: string, flags: Flags) => {
      const { checkpointEntries } = await import('../train/checkpoint/checkpoint-report.js')
      const entries = checkpointEntries(run)
      console.log(flags.json ? JSON.stringify(entries, null, 2) : listed(entries))
    })

  choosing(ckpt.command('show'))
    .description('what a checkpoint holds')
    .argument('<run>', 'a run folder, or the file of a checkpoint')
    .option('--json', 'print one JSON object, with every tensor')
    .addHelpText(
      'after',
      '\nExamples:\n  $ star ckpt show runs/emoji-64\n  $ star ckpt show runs/emoji-64 --step 500 --json',
    )
    .action(async (run: string, flags: Flags) => {
      const { chooseCheckpoint, describeCheckpoint } = await import('../train/checkpoint/checkpoint-report.js')
      const description = describeCheckpoint(chosen(run, flags, chooseCheckpoint))
      console.log(flags.json ? JSON.stringify(description, null, 2) : described(description))
    })

  choosing(ckpt.command('export'))
    .description('write the model for use of a checkpoint, as a run does at its end')
    .argument('<run>', 'a run folder, or the file of a checkpoint')
    .argument('<out>', 'the model folder to write, which "star sample --model" opens')
    .addHelpText(
      'after',
      `
The averaged weights are taken where the run keeps an average. What the run did not train (the tokenizer of a transformer) comes
from where its configuration says.

Example:
  $ star ckpt export runs/emoji-64 models/early --step 500`,
    )
    .action(async (run: string, out: string, flags: Flags) => {
      const { chooseCheckpoint, exportCheckpoint } = await import('../train/checkpoint/checkpoint-report.js')
      const file = chosen(run, flags, chooseCheckpoint)
      using progress = new Progress('preparing')
      await interruptible(async (signal) => {
        try {
          await exportCheckpoint(file, out, {
            signal,
            onProgress: (what, done, total) => progress.update(done, total, what),
          })
        } catch (error) {
          if (signal.aborted) throw new Interrupted('stopped: no model was written')
          throw error
        }
      })
      progress.stop()
      console.error(`of ${file}`)
      console.log(out)
    })
}

function chosen(run: string, { step, best }: Flags, choose: (run: string, choice: Flags) => string): string {
  if (step !== undefined && best)
    throw new StarError('ERR_ARGUMENT', '--step and --best were both given: keep one of them')
  return choose(run, { step, best })
}

function listed(entries: readonly CheckpointEntry[]): string {
  if (entries.length === 0) return 'none'
  return table(
    entries.map(({ step, bytes, written, best, fault }) => [
      `step ${step}`,
      [`${megabytes(bytes)}`, written, ...(best ? ['best'] : []), ...(fault ? [`damaged: ${fault}`] : [])].join('  '),
    ]),
  )
}

function described({
  file,
  kind,
  step,
  files,
  bytes,
  groups,
  optimizerStep,
  lossScale,
  best,
  task,
  model,
}: CheckpointDescription): string {
  const group = (name: keyof typeof groups): [string, string][] => {
    const { tensors, elements, bytes: size } = groups[name]
    return tensors > 0 ? [[name, `${tensors} tensors, ${millions(elements)} numbers, ${megabytes(size)}`]] : []
  }
  return table([
    ['file', file],
    ['kind', kind],
    ['step', String(step)],
    ['size', `${megabytes(bytes)}${files > 1 ? ` in ${files} files` : ''}`],
    ...group('model'),
    ...group('optimizer'),
    ...group('ema'),
    ...group('task'),
    ['optimizer steps', String(optimizerStep)],
    ...(lossScale
      ? [['loss scale', `${lossScale.scale}, ${lossScale.skipped} steps left out`] as [string, string]]
      : []),
    ['best', best ? `step ${best.step}, ${best.value}` : 'not known'],
    ['place', JSON.stringify(task)],
    ['trained model', JSON.stringify(model)],
  ])
}
