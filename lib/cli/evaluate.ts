/** `star evaluate`: measures a model on a pack, or by the protocol of a published benchmark. */
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import type { LoadedModel } from '../engine/loaded-model.js'
import type { FeatureNetwork } from '../metrics/index.js'
import type { MjhqReport, ProtocolOptions } from '../metrics/protocols/index.js'
import type { Clip } from '../models/metrics/index.js'
import { StarError } from '../native/error.js'
import { makeFolder, writeFileAtomic } from '../native/files.js'
import { Interrupted, interruptible } from './interrupt.js'
import { addLoraOptions, type LoraFlags, loraOptions } from './lora-options.js'
import { tellNotice } from './notices.js'
import { wholeNumber } from './options.js'
import { checkWritable } from './output.js'
import { Progress } from './progress.js'
import { addSamplingOptions, type SamplingFlags } from './sampling-options.js'
import { addSourceOptions, downloading, type SourceFlags, sourceOptions } from './source-options.js'
import { columns, table } from './text.js'

const protocols = ['mjhq', 'geneval', 'dpg'] as const
type Protocol = (typeof protocols)[number]

interface EvaluateOptions extends SourceFlags, SamplingFlags, LoraFlags {
  data?: string
  protocol?: Protocol
  prompts?: string
  out: string
  count: number
  seed: number
  features?: string
  clip?: string
  batch: number
  device: string
}

export function addEvaluateCommand(star: Command): void {
  const command = star
    .command('evaluate')
    .description('measure a model: on a pack, or by the protocol of a published benchmark')
    .argument('<model>', 'a shipped model, a model folder, a checkpoint (.pth, .safetensors) or a Hugging Face model')
    .option('--data <folder>', 'a pack or a folder of packs; with --protocol mjhq the folder of MJHQ-30K')
    .addOption(
      new Option('--protocol <name>', 'MJHQ-30K; or pictures for the scorers of GenEval or DPG-Bench').choices(
        protocols,
      ),
    )
    .option(
      '--prompts <path>',
      'of geneval: evaluation_metadata.jsonl; of dpg: its folder of prompts, or dpg_bench.csv',
    )
    .option('-o, --out <folder>', 'where figures, pictures and pages are written', 'evaluation')
    .option(
      '-n, --count <n>',
      'of a pack: captions, words and held-out pairs that are drawn, each at most',
      wholeNumber('--count', 2),
      200,
    )
    .option(
      '-s, --seed <n>',
      'seed of the pictures; of a pack it chooses the captions too',
      wholeNumber('--seed', 0),
      1,
    )
    .option(
      '--features <name>',
      'Fréchet distance of these: efficientnet-lite0, or the file of the Inception that FID uses',
    )
    .option('--clip <folder>', 'CLIP score by this model, a Hugging Face folder')
  addSamplingOptions(command)
    .option('--batch <n>', 'pictures drawn together', wholeNumber('--batch', 1, 1024), 16)
    .option('-d, --device <name>', 'auto (a GPU where one is available), cpu or cuda', 'auto')
  addLoraOptions(addSourceOptions(command))
    .addHelpText(
      'after',
      `
docs/evaluation.md says what each figure is. The perceptual distance wants "star data backbone" once. A protocol that was stopped
is resumed by the same command, and shared by the processes of "star launch".

Examples:
  $ star evaluate runs/emoji-64/model --data runs/data/emoji
  $ star evaluate runs/mine/model --data data/mine --count 1000 --features efficientnet-lite0 --out runs/mine/evaluation
  $ star evaluate MODEL --protocol mjhq --data MJHQ-30K --features inception.pth --clip clip-vit-large-patch14 --out mjhq
  $ star launch --nproc-per-node 8 evaluate MODEL --protocol geneval --prompts evaluation_metadata.jsonl --out geneval`,
    )
    .action(evaluate)
}

/** Checks which of the options go together. */
function checkOptions({ protocol, data, prompts, features, clip }: EvaluateOptions): void {
  const refuse = (message: string): never => {
    throw new StarError('ERR_ARGUMENT', message)
  }
  const draws = protocol === 'geneval' || protocol === 'dpg'
  if (draws && prompts === undefined) refuse(`--protocol ${protocol} takes its prompts from --prompts: name them`)
  if (!draws && data === undefined)
    refuse(
      protocol === 'mjhq'
        ? '--protocol mjhq wants the folder of MJHQ-30K: name it by --data'
        : '--data is missing: name a pack to measure the model on, or a --protocol',
    )
  if (draws && (data ?? features ?? clip) !== undefined)
    refuse(
      `--protocol ${protocol} draws pictures for its own scorer: leave out ${data ? '--data' : features ? '--features' : '--clip'}`,
    )
  if (!draws && prompts !== undefined) refuse('--prompts is for --protocol geneval or dpg: leave it out')
}

/** What all kinds of evaluation share: a loaded model, what measures, and how far it is. */
interface Loaded {
  model: LoadedModel
  features?: FeatureNetwork
  clip?: { name: string; model: Clip }
  shard: { rank: number; size: number }
  bars: Bars
  signal: AbortSignal
}

async function evaluate(name: string, options: EvaluateOptions): Promise<void> {
  checkOptions(options)
  checkWritable(join(options.out, 'evaluation.json'))
  const { loadFeatures } = await import('../metrics/index.js')
  const engine = await import('../engine/loaded-model.js')
  const { Clip } = await import('../models/metrics/index.js')
  const { ProcessGroup } = await import('../distributed/index.js')
  const { resolveDevice } = await import('../tensor/index.js')
  await interruptible(async (signal) => {
    // Each process of a machine with several GPUs takes its own from here on.
    const { rank, size } = await ProcessGroup.launched({ device: resolveDevice(options.device) })
    if (size > 1 && !options.protocol)
      throw new StarError(
        'ERR_ARGUMENT',
        `evaluation on a pack takes one process, and ${size} were started: leave out "star launch"`,
      )
    const { device } = options
    const model = await downloading(options.offline, signal, ({ offline, onProgress }) =>
      engine.LoadedModel.load(name, {
        device,
        ...sourceOptions(options),
        ...loraOptions(options),
        offline,
        onDownload: onProgress,
        onNotice: tellNotice,
        signal,
      }),
    )
    const features = options.features === undefined ? undefined : loadFeatures(options.features, model.info.device)
    const clip = options.clip === undefined ? undefined : Clip.load(options.clip, { device: model.info.device })
    const bars = new Bars()
    const named = clip && { name: options.clip!, model: clip }
    const loaded: Loaded = { model, features, clip: named, shard: { rank, size }, bars, signal }
    try {
      await (options.protocol ? runProtocol(options.protocol, loaded, options) : evaluatePack(loaded, options))
    } catch (error) {
      if (signal.aborted && !(error instanceof StarError && error.code !== 'ERR_ABORTED'))
        throw new Interrupted(
          options.protocol ? 'stopped: the same command resumes from here' : 'stopped: nothing was written',
        )
      throw error
    } finally {
      bars.stop()
      features?.dispose()
      clip?.dispose()
      await model.dispose()
    }
  })
}

async function evaluatePack({ model, features, clip, bars, signal }: Loaded, options: EvaluateOptions): Promise<void> {
  const { contactSheet, evaluateModel, evaluationLines, evaluationPage } = await import('../metrics/index.js')
  const { out, count, seed, batch, cfg, topK, topP, moreSmooth, speed, pixels } = options
  const { evaluation, rows } = await evaluateModel(model, {
    data: options.data!,
    count,
    seed,
    batchSize: batch,
    sampling: { cfg, topK, topP, moreSmooth, speed, pixels },
    features,
    clip,
    signal,
    onProgress: (stage, done, total) => bars.update(stage, done, total),
  })
  bars.stop()
  if (evaluation.tokenizer && evaluation.tokenizer.perceptual === null)
    console.error('note: no perceptual distance, because its network is not there: run "star data backbone" once')
  const sheet = await contactSheet(rows, model.info.imageSize)
  makeFolder(out)
  writeFileAtomic(join(out, 'evaluation.json'), `${JSON.stringify(evaluation, null, 2)}\n`)
  writeFileAtomic(join(out, 'sheet.png'), sheet)
  writeFileAtomic(join(out, 'index.html'), evaluationPage(evaluation, sheet))
  console.log(table(evaluationLines(evaluation)))
  console.log(join(out, 'index.html'))
}

async function runProtocol(protocol: Protocol, loaded: Loaded, options: EvaluateOptions): Promise<void> {
  const { drawDpg, drawGenEval, evaluateMjhq } = await import('../metrics/protocols/index.js')
  const { model, features, clip, shard, bars, signal } = loaded
  const { out, seed, batch, cfg, topK, topP, moreSmooth, speed, pixels } = options
  const common: ProtocolOptions = {
    out,
    seed,
    batchSize: batch,
    sampling: { cfg, topK, topP, moreSmooth, speed, pixels },
    shard,
    signal,
    onProgress: (stage, done, total) => bars.update(stage, done, total),
  }
  if (protocol === 'mjhq') {
    const report = await evaluateMjhq(model, { ...common, data: options.data!, features, clip })
    bars.stop()
    if (report) printMjhq(report, join(out, 'evaluation.json'))
    return
  }
  const { folder, prompts, side } = await (protocol === 'geneval' ? drawGenEval : drawDpg)(
    model,
    options.prompts!,
    common,
  )
  bars.stop()
  if (shard.rank !== 0) return
  console.log(
    `${folder}: four pictures of each of ${prompts} prompts${shard.size > 1 ? ', when all processes have ended' : ''}`,
  )
  console.log(
    protocol === 'geneval'
      ? `score them by GenEval's evaluation/evaluate_images.py ${folder} --outfile results.jsonl`
      : `score them by dpg_bench/dist_eval.sh ${folder} ${side} of ELLA`,
  )
}

function printMjhq({ categories, all, features, clip }: MjhqReport, file: string): void {
  const shown = (value: number | null, digits: number): string => (value === null ? '–' : value.toFixed(digits))
  const heads = [
    'category',
    'pictures',
    features?.comparable === false ? `distance of ${features.name}` : 'FID',
    'CLIP score',
  ]
  const rows = [...Object.entries(categories), ['all', all] as const].map(([name, figures]) => [
    name,
    String(figures.pictures),
    shown(figures.fid, 3),
    shown(figures.clip, 3),
  ])
  console.log(columns([heads, ...rows]))
  if (features?.comparable === false)
    console.error(`note: distances of ${features.name} are not comparable with published FID`)
  if (!features && !clip) console.error('note: nothing was measured; --features and --clip say by what')
  console.log(file)
}

/** A progress bar for each stage of some work; where standard error is no terminal, a line for each. */
class Bars {
  #stage = ''
  #bar: Progress | null = null

  update(stage: string, done: number, total: number): void {
    if (stage !== this.#stage) {
      this.stop()
      this.#stage = stage
      this.#bar = new Progress(stage)
      if (!this.#bar.visible) console.error(`${stage}: ${total}`)
    }
    this.#bar?.update(done, total)
  }

  stop(): void {
    this.#bar?.stop()
  }
}
