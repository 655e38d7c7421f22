/** `star train`, `star train-tokenizer` and `star train-sampler`: run a training described by a configuration file. */
import type { Command } from 'commander'
import type { ProcessGroup } from '../distributed/index.js'
import { StarError } from '../native/error.js'
import { type RunConfig, type RunKind, runSpecs } from '../train/kinds/index.js'
import type { Trainer as TrainerType, TrainStep } from '../train/trainer.js'
import { Interrupted, interruptible } from './interrupt.js'
import { tellNotice } from './notices.js'
import { Progress } from './progress.js'
import { addRunOptions, commandLine, type RunArguments, readRun, runArguments } from './run-options.js'

interface TrainFlags {
  device: string
  json?: boolean
  config?: string
  set?: string[]
}

export function addTrainCommands(star: Command): void {
  for (const [kind, { command }] of Object.entries(runSpecs))
    addRunOptions(star.command(command.name))
      .description(command.description)
      .option('-d, --device <name>', 'auto (a GPU where one is available), cpu or cuda', 'auto')
      .option(
        '--json',
        'where the output is no terminal: a line of JSON a step in place of a readable one now and then',
      )
      .addHelpText(
        'after',
        `
Ctrl-C saves a checkpoint; the same command resumes from it. The run folder named in the configuration holds config.json,
metrics.jsonl, log.txt, checkpoints/ and at the end model/, which "star sample --model" opens.

Examples:
  $ star ${command.name} ${command.example}
  $ STAR_THREADS=8 star ${command.name} ${command.example}`,
      )
      .action((_: string | undefined, options: TrainFlags, { args }: Command) =>
        train(kind as RunKind, runArguments(args, options), options),
      )
}

/** `, 2.5 h left` by the steps since the first of this process; nothing before there are some. */
function timeLeft({ step, totalSteps }: TrainStep, begun: { step: number; time: number } | null): string {
  if (!begun || step === totalSteps || step === begun.step) return ''
  const seconds = ((performance.now() - begun.time) / 1000 / (step - begun.step)) * (totalSteps - step)
  const [amount, unit] = seconds < 90 ? [seconds, 's'] : seconds < 5400 ? [seconds / 60, 'min'] : [seconds / 3600, 'h']
  return `, ${amount.toFixed(unit === 'h' ? 1 : 0)} ${unit} left`
}

const silence = { say: () => {}, print: () => {}, keep: () => {} }

/** What is said is kept in the run folder too. */
function speaker(
  append: (file: string, line: string) => void,
  file: string,
): Record<'say' | 'print' | 'keep', (line: string) => void> {
  const keep = (line: string): void => append(file, line)
  return {
    keep,
    say: (line) => {
      console.error(line)
      keep(line)
    },
    print: (line) => {
      console.log(line)
      keep(line)
    },
  }
}

async function train(kind: RunKind, given: RunArguments, flags: TrainFlags): Promise<void> {
  const { device } = flags
  const { config } = await readRun(given, kind)
  const { ProcessGroup, readEnvironment } = await import('../distributed/index.js')
  const group = await ProcessGroup.connect(readEnvironment(process.env), { device })
  try {
    await trainIn(group, config, flags)
  } finally {
    group.close()
  }
}

/** One process of a training; the first speaks for all. */
async function trainIn(group: ProcessGroup, config: RunConfig, { device, json }: TrainFlags): Promise<void> {
  const first = group.rank === 0
  const { recorded, Trainer } = await import('../train/trainer.js')
  const { append } = await import('../train/run-folder/recorder.js')
  const command = commandLine(['star', ...process.argv.slice(2)])

  await interruptible(async (signal) => {
    using preparing = new Progress('preparing')
    let trainer: TrainerType
    try {
      trainer = await Trainer.open(config, {
        device,
        signal,
        group,
        onNotice: first ? tellNotice : undefined,
        onProgress: (what, done, total) => first && preparing.update(done, total, what),
      })
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted(`stopped before the first step; start again with: ${command}`)
      throw error
    }
    preparing.stop()
    using progress = new Progress('training')
    const save = (): void => trainer.requestSave()
    let begun: { step: number; time: number } | null = null
    process.on('SIGUSR1', save)
    try {
      const { say, print, keep } = first ? speaker(append, trainer.run.file('stdout.txt')) : silence
      const parameters = (trainer.parameterCount / 1e6).toFixed(1)
      say(
        `${trainer.step > 0 ? `resuming from step ${trainer.step}` : 'starting'}: ${parameters} M parameters on ${trainer.device}, run folder ${config.runFolder}`,
      )
      for await (const step of trainer) {
        if (!first) continue
        const figures = `loss ${step.loss.toFixed(4)}, ${step.samplesPerSecond.toFixed(1)} images/s`
        progress.update(step.step, step.totalSteps, figures)
        // stdout.txt gets a line of JSON a step, whatever is shown.
        const line = JSON.stringify({ step: step.step, ...recorded(step) })
        if (json && !progress.visible) print(line)
        else keep(line)
        const last = step.step === step.totalSteps
        if (!json && !progress.visible && (last || step.step % trainer.config.work.logEvery === 0))
          console.log(
            `step ${step.step} of ${step.totalSteps}, epoch ${step.epoch}, ${figures}${timeLeft(step, begun)}`,
          )
        begun ??= { step: step.step, time: performance.now() }
      }
      progress.stop()
      if (trainer.done) return print(trainer.run.file('model'))
      const stopped = `stopped at step ${trainer.step} and saved; resume with: ${command}`
      // Among several processes the launcher has the last word.
      if (group.size > 1 || (signal.reason as Error | undefined)?.message !== 'SIGINT') return say(stopped)
      keep(stopped)
      throw new Interrupted(stopped)
    } finally {
      process.off('SIGUSR1', save)
      trainer.dispose()
    }
  })
}
