/** Options that all commands have that draw pictures with a model, and the loading of that model. */
import { type Command, Option } from 'commander'
import type { StarGenerateOptions } from '../generate-options.js'
import type { PictureSize } from '../sampling/index.js'
import type { LoadOptions, Star } from '../star.js'
import { addLoraOptions, type LoraFlags, loraOptions } from './lora-options.js'
import { tellNotice } from './notices.js'
import { sizeOption, wholeNumber } from './options.js'
import type { Progress } from './progress.js'
import { addSamplingOptions, type SamplingFlags } from './sampling-options.js'
import { addSourceOptions, downloading, type SourceFlags, sourceOptions } from './source-options.js'

export interface DrawingFlags extends SourceFlags, SamplingFlags, LoraFlags {
  model: string
  force?: boolean
  seed: number
  negative?: string
  /** Of commands that have it. */
  size?: PictureSize
  batch: number
  device: string
  dtype?: LoadOptions['dtype']
  decoderDtype?: LoadOptions['decoderDtype']
}

/** @param own adds what the command has itself, between what it draws and where it runs */
export function addDrawingOptions(command: Command, own: (command: Command) => Command): Command {
  command
    .option(
      '-m, --model <name>',
      'a shipped model, a model folder, a checkpoint (.pth, .safetensors) or a Hugging Face model',
      'emoji-64',
    )
    .option('-f, --force', 'replace files that are there; without it a number makes their names free')
    .option('--negative <prompt>', 'what the pictures are guided away from, in place of the empty prompt')
    .option('-s, --seed <n>', 'seed of the first picture; the next has the next', wholeNumber('--seed', 0), 42)
  own(addSamplingOptions(command))
    .option('--batch <n>', 'pictures drawn together', wholeNumber('--batch', 1, 1024), 8)
    .option('-d, --device <name>', 'auto (a GPU where one is available), cpu or cuda', 'auto')
    .addOption(
      new Option(
        '--dtype <type>',
        'of weights and caches: 16 bits halve them, int8 takes 8 for most weights; auto: bf16 where the CPU multiplies it faster, else f32, 16 bits on a GPU',
      )
        .choices(['auto', 'f32', 'f16', 'bf16', 'int8'])
        .default('auto'),
    )
    .addOption(
      new Option(
        '--decoder-dtype <type>',
        'in which tokens become pixels (default: f32 on the CPU, f16 on a GPU)',
      ).choices(['f32', 'f16', 'bf16']),
    )
  return addLoraOptions(addSourceOptions(command))
}

/** The option of commands whose pictures have a size of their own. */
export const addSizeOption = (command: Command): Command =>
  command.option(
    '--size <WxH>',
    'width and height in pixels: multiples of the model’s patch, near a size that it was trained on (default: its square)',
    sizeOption('--size'),
  )

/** How pictures are drawn, of the options of the command line. */
export const drawingSettings = ({
  seed,
  negative,
  size,
  cfg,
  topK,
  topP,
  moreSmooth,
  speed,
  pixels,
  batch,
}: DrawingFlags) => ({
  seed,
  negativePrompt: negative,
  ...(size && { size }),
  cfg,
  topK,
  topP,
  moreSmooth,
  speed,
  pixels,
  batchSize: batch,
})

/** How a model is loaded, of the options of the command line. */
export const modelOptions = (
  options: Pick<DrawingFlags, 'device' | 'dtype' | 'decoderDtype'> & SourceFlags & LoraFlags,
) => {
  const { device, dtype, decoderDtype } = options
  return { device, dtype, decoderDtype, ...sourceOptions(options), ...loraOptions(options), onNotice: tellNotice }
}

/** Loads the model, with a bar where something is downloaded. */
export async function loadStar(options: DrawingFlags, signal: AbortSignal): Promise<Star> {
  const { Star } = await import('../star.js')
  return downloading(options.offline, signal, ({ offline, onProgress }) =>
    Star.load(options.model, { ...modelOptions(options), offline, onDownload: onProgress, signal }),
  )
}

/** Shows each scale of a call on a bar. */
export const progressOf =
  (bar: Progress, batch: number): NonNullable<StarGenerateOptions['onScale']> =>
  ({ scaleIndex, scales, images, total }) => {
    const done = Math.floor(images[0] / batch) * scales + scaleIndex + 1
    bar.update(done, Math.ceil(total / batch) * scales, `scale ${scaleIndex + 1} of ${scales}`)
  }
