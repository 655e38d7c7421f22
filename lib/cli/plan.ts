/** `star plan`: the memory that a training run or a generation takes, before it starts, and its time on a GPU on paper. */
import { type Command, Option } from 'commander'
import type { ModelType } from '../models/star/index.js'
import { StarError } from '../native/error.js'
import type { CardName, MemoryPlan } from '../plan/index.js'
import type { SpeedName } from '../sampling/index.js'
import type { TimePlan } from '../train/paper-clock.js'
import { number, wholeNumber } from './options.js'
import { addRunOptions, readRun, runArguments } from './run-options.js'
import { table } from './text.js'

interface PlanFlags {
  config?: string
  set?: string[]
  memory?: number
  processes?: number
  json?: boolean
  generate?: boolean
  time?: CardName
  stable?: boolean
  speed?: SpeedName
  depth: number
  side: number
  batch: number
  cfg: number
  dtype: ModelType | 'auto'
}

/** `24GB`, `512MB` or a number of bytes. */
function bytes(text: string): number {
  const [, amount, unit] = /^\s*([0-9.]+)\s*(GB|MB|GiB|MiB|)\s*$/i.exec(text) ?? []
  const factor = { gb: 1e9, mb: 1e6, gib: 2 ** 30, mib: 2 ** 20, '': 1 }[(unit ?? '').toLowerCase()]
  const value = Number(amount) * (factor ?? Number.NaN)
  if (!(value > 0)) throw new StarError('ERR_ARGUMENT', `--memory is "${text}", expected an amount such as 24GB`)
  return value
}

export function addPlanCommand(star: Command): void {
  addRunOptions(star.command('plan'))
    .description(
      'tell the memory that a training run of a transformer or a LoRA takes, or with --generate the drawing of pictures',
    )
    .option('--memory <amount>', 'of the device it is to run on, such as 24GB (default: this machine’s)', bytes)
    .option('--processes <n>', 'that share each batch (default: 1)', wholeNumber('--processes', 1, 1e6))
    .addOption(
      new Option('--time <card>', 'the expected time on this GPU, on paper, in place of the memory').choices([
        'a100',
        'h100',
        'h200',
      ]),
    )
    .option('--json', 'print one JSON object')
    .option('--generate', 'plan the drawing of pictures by a published model')
    .option(
      '--depth <n>',
      'with --generate: blocks of the model, 64 channels each',
      wholeNumber('--depth', 1, 1000),
      16,
    )
    .option(
      '--side <n>',
      'with --generate: side of the pictures, 256, 512 or 1024',
      wholeNumber('--side', 256, 1024),
      256,
    )
    .option('--batch <n>', 'with --generate: pictures drawn together', wholeNumber('--batch', 1, 1024), 1)
    .option('--cfg <x>', 'with --generate: guidance; 0 halves the work', number('--cfg', 0, 1000), 4)
    .addOption(
      new Option('--dtype <type>', 'with --generate: of weights and caches; auto: as this CPU draws, with --time bf16')
        .choices(['auto', 'f32', 'f16', 'bf16', 'int8'])
        .default('auto'),
    )
    .option('--stable', 'with --generate and --time: stable sampling by a sampler head')
    .addOption(
      new Option('--speed <preset>', 'with --generate and --time: what is left out of the last scales').choices([
        'full',
        'fast',
        'turbo',
      ]),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ star plan configs/emoji-64.json
  $ star plan configs/emoji-64-lora.json
  $ star plan configs/config_d16_256.json --memory 80GB --ac 64
  $ star plan configs/config_d30_1024.json --memory 24GB --processes 64 --set optimizer.shard=true
  $ star plan --generate --depth 30 --side 1024 --dtype bf16
  $ star plan --generate --depth 30 --side 1024 --dtype bf16 --time h100
  $ star plan configs/config_d30_1024.json --processes 32 --fp16 2 --time h100`,
    )
    .action(async (_: string | undefined, flags: PlanFlags, command: Command) => {
      const { hostMemory, ...runs } = await import('../train/kinds/transformer/plan.js')
      const available = flags.memory ?? hostMemory()
      if (flags.time && flags.generate) {
        const { picturesTime } = await import('./plan-time.js')
        await checkSide(flags.side)
        return printTime(await picturesTime({ ...flags, dtype: await typeOf(flags) }, flags.time), flags)
      }
      if (flags.generate) {
        const dtype = await typeOf(flags)
        const { plan, remedies } = await generation(flags, dtype)
        await print(plan, available, flags, [], dtype)
        const { checkFits } = await import('../plan/index.js')
        return checkFits(plan, available, 'the device', remedies)
      }
      const { config: run } = await readRun(runArguments(command.args, flags))
      if (run.kind !== 'transformer' && run.kind !== 'lora')
        throw new StarError(
          'ERR_ARGUMENT',
          `plan takes runs of kind "transformer" or "lora", this one is "${run.kind}"`,
        )
      if (flags.time) {
        const { loraTime, trainingTime } = await import('./plan-time.js')
        const { checkShares } = await import('../train/config/optimizer.js')
        const { processes = 1 } = flags
        checkShares(run.optimizer, processes)
        const time =
          run.kind === 'lora' ? loraTime(run, processes, flags.time) : trainingTime(run, processes, flags.time)
        return printTime(await time, flags)
      }
      if (run.kind === 'lora') {
        const { baseOfRun, checkLoraRun, planLoraRun } = await import('../train/kinds/lora/plan.js')
        const plan = planLoraRun(run, baseOfRun(run), flags.processes)
        await print(plan, available, flags, [])
        return checkLoraRun(run, plan, available, 'the device', flags.processes)
      }
      const { config, tokenizerBytes, assumed } = runs.modelOfRun(run)
      const plan = runs.planTransformerRun(run, config, tokenizerBytes, flags.processes)
      await print(plan, available, flags, assumed)
      runs.checkTransformerRun(run, plan, available, 'the device', flags.processes)
    })
}

/** The type that pictures are drawn in, on this CPU or with --time on a GPU. */
async function typeOf({ dtype, time }: PlanFlags): Promise<ModelType> {
  if (dtype !== 'auto') return dtype
  const { drawingTypes } = await import('../engine/model-type.js')
  return drawingTypes({}, { device: time ? 'cuda' : 'cpu', stored: new Set() }).dtype
}

async function generation(flags: PlanFlags, dtype: ModelType): Promise<{ plan: MemoryPlan; remedies: string[] }> {
  const { starConfig } = await import('../models/star/index.js')
  const { tokenizerSchema } = await import('../models/tokenizer/index.js')
  const { planGeneration } = await import('../plan/index.js')
  const { depth, side } = flags
  const patchNums = await checkSide(side)
  const plan = planGeneration({
    config: starConfig({ depth, width: 64 * depth, heads: depth, patchNums: [...patchNums] }),
    images: flags.batch,
    guided: flags.cfg > 0,
    dtype,
    textLength: 77,
    tokenizer: publishedTokenizerBytes,
    textEncoder: 0,
    baseChannels: tokenizerSchema.parse({}).baseChannels,
    pixels: side * side,
  })
  return {
    plan,
    remedies: [
      ...(flags.batch > 1 ? ['draw fewer pictures together (--batch)'] : []),
      ...(dtype === 'f32' ? ['take 16 bits (--dtype bf16)'] : dtype === 'int8' ? [] : ['take 8 bits (--dtype int8)']),
      'take a smaller model',
    ],
  }
}

/** The scales of a published model for pictures of this side. */
async function checkSide(side: number): Promise<readonly number[]> {
  const { publishedScales } = await import('../models/star/index.js')
  const patchNums = publishedScales.get(side)
  if (patchNums) return patchNums
  throw new StarError('ERR_ARGUMENT', `--side is ${side}, expected ${[...publishedScales.keys()].join(', ')}`)
}

async function printTime(plan: TimePlan, { json, time }: PlanFlags): Promise<void> {
  const { cards } = await import('../plan/index.js')
  const { timeTable } = await import('./plan-time.js')
  console.log(json ? JSON.stringify(plan, null, 2) : timeTable(plan, cards[time!].tensor))
}

/** vae_ch160v4096z32 in f32, encoder and decoder. */
const publishedTokenizerBytes = 4 * 109_000_000

/** @param dtype of pictures, which `auto` may have become */
async function print(
  plan: MemoryPlan,
  available: number,
  flags: PlanFlags,
  assumed: readonly string[],
  dtype?: ModelType,
): Promise<void> {
  const { gigabytes } = await import('../plan/index.js')
  if (flags.json) {
    console.log(JSON.stringify({ dtype, ...plan, parts: Object.fromEntries(plan.parts), available }, null, 2))
    return
  }
  for (const line of assumed) console.error(`note: ${line}`)
  console.log(
    table([
      ...(dtype ? ([['type', dtype]] as [string, string][]) : []),
      ...plan.parts.filter(([, size]) => size > 0).map(([name, size]): [string, string] => [name, gigabytes(size)]),
      ['at most at once', gigabytes(plan.peak)],
      ['the device has', gigabytes(available)],
    ]),
  )
}
