/** `star train`, `star train-tokenizer` and `star train-sampler`: run a training described by a configuration file. */
import type { Command } from 'commander'
import { readConfigFile } from '../config/parse-config.js'
import { StarError } from '../native/error.js'
import type { Trainer as TrainerType, TrainStep } from '../train/trainer.js'
import { Interrupted, interruptible } from './interrupt.js'
import { Progress } from './progress.js'

type Kind = 'tokenizer' | 'transformer' | 'sampler'

const commands: Record<Kind, string> = { tokenizer: 'train-tokenizer', transformer: 'train', sampler: 'train-sampler' }

export function addTrainCommands(star: Command): void {
  const add = (kind: Kind, description: string, example: string) =>
    star
      .command(commands[kind])
      .description(description)
      .argument('<config>', 'configuration file (JSON)')
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
      .action((config: string, options: { device: string }) => train(kind, config, options.device))
  add('transformer', 'train a transformer on the tokens of a tokenizer', 'configs/emoji-64.json')
  add('tokenizer', 'train an image tokenizer', 'configs/emoji-64-tokenizer.json')
  add('sampler', 'train a sampler head on a trained model', 'my-sampler.json')
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

async function train(kind: Kind, config: string, device: string): Promise<void> {
  const { runSchema } = await import('../train/config.js')
  const { Trainer } = await import('../train/trainer.js')
  const given = readConfigFile(runSchema, config)
  if (given.kind !== kind)
    throw new StarError(
      'ERR_CONFIG',
      `${config} describes the training of a ${given.kind}: run "star ${commands[given.kind]} ${config}"`,
    )
  const command = `star ${commands[kind]} ${config}`

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
        `${trainer.step > 0 ? `going on from step ${trainer.step}` : 'starting'}: ${parameters} M parameters on ${trainer.device}, run folder ${given.runFolder}`,
      )
      for await (const step of trainer) {
        progress.update(step.step, step.totalSteps, `loss ${step.loss.toFixed(4)}`)
        const due = step.step % given.work.logEvery === 0 || step.step === step.totalSteps
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
