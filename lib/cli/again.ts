/** `star again`: draws the pictures of a file once more, from the settings inside it. */
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import { interruptible } from './interrupt.js'
import { tellNotice } from './notices.js'
import { checkWritable, picturePaths } from './output.js'
import { addSourceOptions, downloading, type SourceFlags, sourceOptions } from './source-options.js'

interface AgainOptions extends SourceFlags {
  model?: string
  out?: string
  force?: boolean
  device?: string
}

export function addAgainCommand(star: Command): void {
  const command = star
    .command('again')
    .description('draw a picture once more, from the prompt and settings in its file')
    .argument('<picture>', 'a file that star wrote: PNG, JPEG, WebP or AVIF; a grid gives a grid')
    .option('-m, --model <name>', 'the model that drew it (default: the name that the file gives)')
    .option('-o, --out <path>', 'file to write (default: a free name beside the picture)')
    .option('-f, --force', 'replace the file where there is one')
    .option('-d, --device <name>', 'auto, cpu or cuda (default: the device that drew it)')
  addSourceOptions(command)
    .addHelpText(
      'after',
      `
The weights must be those that drew the picture; pixels are the same on the same kind of device.

Examples:
  $ star again apple.png
  $ star again apple.webp --model runs/mine/model --out again.png`,
    )
    .action(again)
}

async function again(picture: string, options: AgainOptions): Promise<void> {
  const { gridGap, imageFormat, imageGrid, readSettings } = await import('../image.js')
  const { Star } = await import('../star.js')
  const { all, width } = await readSettings(picture)
  const [{ model, weights, dtype, device, lora, loraMode }] = all
  if (all.some(({ edited }) => edited))
    throw new StarError(
      'ERR_ARGUMENT',
      `${picture} was made of another picture, which the file does not hold: run "star edit" or "star vary" with that one again`,
    )
  const wanted = options.out ?? picture
  imageFormat(wanted)
  const force = options.force === true && options.out !== undefined
  const [out] = picturePaths(wanted, all.slice(0, 1), force)
  checkWritable(out)
  await interruptible(async (signal) => {
    await using star = await downloading(options.offline, signal, ({ offline, onProgress }) =>
      Star.load(options.model ?? model, {
        ...sourceOptions(options),
        device: options.device ?? device,
        dtype,
        lora,
        loraMode,
        offline,
        onDownload: onProgress,
        onNotice: tellNotice,
        signal,
      }),
    )
    if (star.info().weights !== weights)
      throw new StarError(
        'ERR_CONFIG',
        `${picture} was drawn by the model "${model}" with weights ${weights.slice(0, 12)}, and these are ${star.info().weights.slice(0, 12)}: name the model that drew it with --model`,
      )
    const drawn = all.map(
      ({ prompt, model: _, weights: __, dtype: ___, device: ____, lora: _l, loraMode: _m, ...settings }) =>
        star.generate(prompt, { ...settings, signal }),
    )
    const images = (await Promise.all(drawn)).flatMap((result) => result.images)
    // As many in a row as in the file.
    const columns = Math.max(1, Math.round((width - gridGap) / (images[0].width + gridGap)))
    await (images.length === 1 ? images[0] : imageGrid(images, { columns })).save(out)
    console.log(out)
  })
}
