/** `star train`, `star train-tokenizer` and `star train-sampler`: run a training described by a configuration file. */
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import type { Trainer as TrainerType, TrainStep } from '../train/trainer.js'
import { Interrupted, interruptible } from './interrupt.js'
import { Progress } from './progress.js'
import { addRunOptions, commandLine, type RunArguments, readRun, runArguments } from './run-options.js'

type Kind = 'tokenizer' | 'transformer' | 'sampler'

interface TrainFlags {
  device: string
  config?: string
  set?: string[]
}

const commands: Record<Kind, string> = { tokenizer: 'train-tokenizer', transformer: 'train', sampler: 'train-sampler' }

export function addTrainCommands(star: Command): void {
  const add = (kind: Kind, description: string, example: string) =>
    addRunOptions(star.command(commands[kind]))
      .description(description)
      .option('-d, --device <name>', 'auto (a GPU where one is available), cpu or cuda', 'auto')
      .addHelpText(
        'after',
        `
Ctrl-C saves a checkpoint; the same command goes on from it. The run folder named in the configuration holds config.json,
metrics.jsonl, log.txt, checkpoints/ and at the end model/, which "star sample --model" opens.

Examples:
  $ star ${commands[kind]} ${example}
  $ STAR_THREADS=8 star ${commands[kind]} ${example}`,
      )
      .action((_: string | undefined, options: TrainFlags, command: Command) =>
        train(kind, runArguments(command.args, options), options.device),
      )
  add('transformer', 'train a transformer on the tokens of a tokenizer', 'configs/emoji-64.json')
  add('tokenizer', 'train an image tokenizer', 'configs/emoji-64-tokenizer.json')
  add('sampler', 'train a sampler head on a trained model', 'configs/config_d30_samplev3_1024.json')
}

const percent = (name: string): boolean => /acc|usage/i.test(name)

/** One step as a line of text. */
function describe({ step, totalSteps, loss, metrics, learningRate, samplesPerSecond }: TrainStep): string {
  const others = Object.entries(metrics)
    .filter(([name]) => name !== 'loss')
    .slice(0, 4)
    .map(([name, value]) => `${name} ${percent(name) ? `${(100 * value).toFixed(1)} %` : value.toFixed(4)}`)
  return [
    `step ${step}/${totalSteps}`,
    `loss ${loss.toFixed(4)}`,
    ...others,
    `lr ${learningRate.toExponential(2)}`,
    `${samplesPerSecond.toFixed(1)} pictures/s`,
  ].join(', ')
}

async function train(kind: Kind, given: RunArguments, device: string): Promise<void> {
  const { config } = await readRun(given, kind)
  const { Trainer } = await import('../train/trainer.js')
  const command = commandLine(['star', ...process.argv.slice(2)])

  await interruptible(async (signal) => {
    using preparing = new Progress('preparing')
    let trainer: TrainerType
    try {
      trainer = await Trainer.open(config, {
        device,
        signal,
        onProgress: (what, done, total) => preparing.update(done, total, what),
      })
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted(`stopped before the first step; start again with: ${command}`)
      throw error
    }
    preparing.stop()
    using progress = new Progress('training')
    try {
      const parameters = (trainer.parameterCount / 1e6).toFixed(1)
      console.error(
        `${trainer.step > 0 ? `going on from step ${trainer.step}` : 'starting'}: ${parameters} M parameters on ${trainer.device}, run folder ${config.runFolder}`,
      )
      for await (const step of trainer) {
        progress.update(step.step, step.totalSteps, `loss ${step.loss.toFixed(4)}`)
        const due = step.step % trainer.config.work.logEvery === 0 || step.step === step.totalSteps
        if (!progress.visible && due) console.log(describe(step))
      }
      progress.stop()
      if (!trainer.done) throw new Interrupted(`stopped at step ${trainer.step} and saved; go on with: ${command}`)
      console.log(trainer.run.file('model'))
    } finally {
      trainer.dispose()
    }
  })
}
