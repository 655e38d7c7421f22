/** `star edit` and `star vary`: change pictures. */
import { type Command, Option } from 'commander'
import type { StarEditOptions } from '../edit-options.js'
import type { StarGenerateOptions } from '../generate-options.js'
import type { StarImage } from '../image.js'
import { StarError } from '../native/error.js'
import type { Star, StarResult } from '../star.js'
import {
  addDrawingOptions,
  addSizeOption,
  type DrawingFlags,
  drawingSettings,
  loadStar,
  progressOf,
} from './drawing-options.js'
import { Interrupted, interruptible } from './interrupt.js'
import { number, wholeNumber } from './options.js'
import { checkWritable, picturePaths } from './output.js'
import { Progress } from './progress.js'

interface ChangeFlags extends DrawingFlags {
  out?: string
  count: number
  strength: number
}

interface EditFlags extends ChangeFlags {
  mask?: string
  box?: number[]
  extend?: StarEditOptions['extend']
  feather?: number
  softEdge?: boolean
}

function boxOf(text: string): number[] {
  const numbers = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  if (numbers.length !== 4 || !numbers.every((n) => Number.isSafeInteger(n) && n >= 0))
    throw new StarError('ERR_ARGUMENT', `--box is "${text}", expected x,y,width,height in pixels, such as 16,0,32,24`)
  return numbers
}

function extensionOf(text: string): StarEditOptions['extend'] {
  const parts = text.split(',').map((part) => /^\s*(left|right|top|bottom)=(\d{1,5})\s*$/.exec(part))
  if (!parts.every((part) => part !== null))
    throw new StarError(
      'ERR_ARGUMENT',
      `--extend is "${text}", expected sides with pixels, such as left=64 or top=32,right=32`,
    )
  return Object.fromEntries(parts.map(([, side, pixels]) => [side, Number(pixels)]))
}

/** Options of both commands. */
function addChangeOptions(command: Command, own: (command: Command) => Command): Command {
  command
    .argument('<picture>', 'the picture: PNG, JPEG, WebP or AVIF')
    .argument('<prompt>', 'what the changed picture shows')
    .option(
      '-o, --out <path>',
      'file to write, or a folder for PROMPT-SEED.png (default: a free name beside the picture)',
    )
    .option('-n, --count <n>', 'pictures', wholeNumber('--count', 1, 100_000), 1)
  return addDrawingOptions(command, own)
}

export function addEditCommands(star: Command): void {
  const edit = star.command('edit').description('draw a part of a picture anew, or what lies beyond its edges')
  addChangeOptions(edit, (command) =>
    command
      .option(
        '--mask <file>',
        'a picture of the same size: its transparent part is drawn, or the white part where all of it is opaque (default: the transparent part of the picture itself)',
      )
      .addOption(new Option('--box <x,y,w,h>', 'draw this box of pixels').argParser(boxOf).conflicts('mask'))
      .option('--extend <sides>', 'draw so many pixels beyond the edges: left=64, or top=32,right=32', extensionOf)
      .option(
        '--feather <n>',
        'pixels over which the drawn part fades into the picture (default: a 64th of its shorter side, 2 at least)',
        wholeNumber('--feather', 0, 1024),
      )
      .option('--soft-edge', 'mix given and drawn code vectors at the mask’s edge')
      .option(
        '--strength <x>',
        'below 1, the coarsest (1 − x) of the scales are kept inside the mask too',
        number('--strength', 0, 1),
        1,
      ),
  )
    .addHelpText(
      'after',
      `
Pixels outside of the mask and its feathered edge keep their bytes; those inside have no influence with a strength of 1.

Examples:
  $ star edit photo.png "a smiling cat" --mask mask.png --out cat.png
  $ star edit photo.png "a red apple" --box 16,16,32,32 --count 4 --out apples/
  $ star edit photo.png "a green meadow" --extend left=64,right=64 --out wide.png`,
    )
    .action((picture: string, prompt: string, flags: EditFlags) => {
      const { extend, feather, softEdge, strength, box } = flags
      const mask = box ? { x: box[0], y: box[1], width: box[2], height: box[3] } : flags.mask
      return change(picture, prompt, flags, (model, settings) =>
        model.edit(picture, { ...settings, prompt, mask, extend, feather, softEdge, strength }),
      )
    })

  const vary = star.command('vary').description('draw pictures that are like a given one')
  addChangeOptions(vary, (command) =>
    addSizeOption(command).option(
      '--strength <x>',
      'from 0, the picture as the tokenizer sees it, to 1, a new one: the coarsest (1 − x) of the scales are kept',
      number('--strength', 0, 1),
      0.5,
    ),
  )
    .addHelpText(
      'after',
      `
The model sees the middle of the picture: a square, or with --size a part of that shape.

Examples:
  $ star vary apple.png "a red apple" --count 4 --out apples/
  $ star vary photo.jpg "a sleeping cat" --size 80x56 --out wide.png
  $ star vary sketch.png "a sleeping cat" --strength 0.7 --out cat.png`,
    )
    .action((picture: string, prompt: string, flags: ChangeFlags) =>
      change(picture, prompt, flags, (model, settings) =>
        model.vary(picture, { ...settings, prompt, strength: flags.strength }),
      ),
    )
}

async function change(
  picture: string,
  prompt: string,
  options: ChangeFlags,
  draw: (star: Star, settings: StarGenerateOptions) => Promise<StarResult>,
): Promise<void> {
  const { readPrompts } = await import('../prompts.js')
  const { imageFormat } = await import('../image.js')
  readPrompts(prompt)
  const { count, seed, out = picture } = options
  if (options.out === undefined) imageFormat(picture)
  const names = Array.from({ length: count }, (_, j) => ({ prompt, seed: seed + j }))
  const paths = picturePaths(out, names, options.force === true && options.out !== undefined)
  for (const path of new Set([paths[0], paths[paths.length - 1]])) checkWritable(path)
  await interruptible(async (signal) => {
    await using star = await loadStar(options, signal)
    using progress = new Progress('drawing')
    let images: StarImage[]
    try {
      const onScale = progressOf(progress, options.batch)
      images = (await draw(star, { ...drawingSettings(options), count, signal, onScale })).images
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_ABORTED') throw error
      throw new Interrupted('stopped: nothing was written')
    }
    progress.stop()
    for (const [i, image] of images.entries()) {
      await image.save(paths[i])
      console.log(paths[i])
    }
  })
}
