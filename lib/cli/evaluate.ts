/** `star evaluate`: measures a model. */
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import { StarError } from '../native/error.js'
import { makeFolder, writeFileAtomic } from '../native/files.js'
import { Interrupted, interruptible } from './interrupt.js'
import { number, wholeNumber } from './options.js'
import { checkWritable } from './output.js'
import { Progress } from './progress.js'
import { addSourceOptions, downloading, type SourceFlags, sourceOptions } from './source-options.js'
import { table } from './text.js'

interface EvaluateOptions extends SourceFlags {
  data: string
  out: string
  count: number
  seed: number
  cfg?: number
  topK?: number
  topP?: number
  moreSmooth?: boolean
  pixels?: 'round' | 'truncate'
  features?: string
  clip?: string
  batch: number
  device: string
}

export function addEvaluateCommand(star: Command): void {
  const command = star
    .command('evaluate')
    .description('measure a model: pictures of captions against those of a pack')
    .argument('<model>', 'a shipped model, a model folder, a checkpoint (.pth, .safetensors) or a Hugging Face model')
    .requiredOption('--data <pack>', 'a pack, or a folder of packs')
    .option('-o, --out <folder>', 'where evaluation.json, sheet.png and index.html are written', 'evaluation')
    .option(
      '-n, --count <n>',
      'captions, words and held-out pairs that are drawn, each at most',
      wholeNumber('--count', 2),
      200,
    )
    .option('-s, --seed <n>', 'chooses captions, and seed of the pictures', wholeNumber('--seed', 0), 1)
    .option(
      '--features <name>',
      'Fréchet distance of these: efficientnet-lite0, or the file of the Inception that FID uses',
    )
    .option('--clip <folder>', 'CLIP score by this model, a Hugging Face folder')
    .option('--cfg <x>', 'strength of guidance (default: the model’s)', number('--cfg', 0, 1000))
    .option('--top-k <n>', 'draw from the n most probable tokens (default: the model’s)', wholeNumber('--top-k', 0))
    .option(
      '--top-p <x>',
      'draw from tokens of this probability together (default: the model’s)',
      number('--top-p', 0, 1),
    )
    .option('--more-smooth', 'mix tokens softly')
    .addOption(
      new Option('--pixels <rule>', 'round pixel values, or truncate them as the reference implementation').choices([
        'round',
        'truncate',
      ]),
    )
    .option('--batch <n>', 'pictures drawn together', wholeNumber('--batch', 1, 1024), 16)
    .option('-d, --device <name>', 'auto (a GPU where one is available), cpu or cuda', 'auto')
  addSourceOptions(command)
    .addHelpText(
      'after',
      `
docs/evaluation.md says what each figure is. The perceptual distance wants "star data backbone" once.

Examples:
  $ star evaluate runs/emoji-64/model --data runs/data/emoji
  $ star evaluate runs/mine/model --data data/mine --count 1000 --features efficientnet-lite0 --out runs/mine/evaluation`,
    )
    .action(evaluate)
}

async function evaluate(name: string, options: EvaluateOptions): Promise<void> {
  const files = { json: 'evaluation.json', sheet: 'sheet.png', page: 'index.html' } as const
  for (const file of Object.values(files)) checkWritable(join(options.out, file))
  const { contactSheet, evaluateModel, evaluationLines, evaluationPage, loadFeatures } = await import(
    '../metrics/index.js'
  )
  const { LoadedModel } = await import('../engine/loaded-model.js')
  const { Clip } = await import('../models/metrics/index.js')
  await interruptible(async (signal) => {
    const { data, out, count, seed, device, batch, cfg, topK, topP, moreSmooth, pixels } = options
    const model = await downloading(options.offline, signal, ({ offline, onProgress }) =>
      LoadedModel.load(name, { device, ...sourceOptions(options), offline, onDownload: onProgress, signal }),
    )
    const features = options.features === undefined ? undefined : loadFeatures(options.features, model.info.device)
    const clip = options.clip === undefined ? undefined : Clip.load(options.clip, { device: model.info.device })
    const bars = new Bars()
    try {
      const { evaluation, rows } = await evaluateModel(model, {
        data,
        count,
        seed,
        batchSize: batch,
        sampling: { cfg, topK, topP, moreSmooth, pixels },
        features,
        clip: clip && { name: options.clip!, model: clip },
        signal,
        onProgress: (stage, done, total) => bars.update(stage, done, total),
      })
      bars.stop()
      if (evaluation.tokenizer && evaluation.tokenizer.perceptual === null)
        console.error('note: no perceptual distance, because its network is not there: run "star data backbone" once')
      const sheet = await contactSheet(rows, model.info.imageSize)
      makeFolder(out)
      writeFileAtomic(join(out, files.json), `${JSON.stringify(evaluation, null, 2)}\n`)
      writeFileAtomic(join(out, files.sheet), sheet)
      writeFileAtomic(join(out, files.page), evaluationPage(evaluation, sheet))
      console.log(table(evaluationLines(evaluation)))
      console.log(join(out, files.page))
    } catch (error) {
      if (signal.aborted && !(error instanceof StarError && error.code !== 'ERR_ABORTED'))
        throw new Interrupted('stopped: nothing was written')
      throw error
    } finally {
      bars.stop()
      features?.dispose()
      clip?.dispose()
      await model.dispose()
    }
  })
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
