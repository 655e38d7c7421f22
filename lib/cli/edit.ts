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
  /** `vary` has a default. */
  strength?: number
}

interface EditFlags extends ChangeFlags {
  from?: string
  to?: string
  share?: number
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
function addChangeOptions(command: Command, prompt: string, own: (command: Command) => Command): Command {
  command
    .argument('<picture>', 'the picture: PNG, JPEG, WebP or AVIF')
    .argument(prompt, 'what the changed picture shows')
    .option(
      '-o, --out <path>',
      'file to write, or a folder for PROMPT-SEED.png (default: a free name beside the picture)',
    )
    .option('-n, --count <n>', 'pictures', wholeNumber('--count', 1, 100_000), 1)
  return addDrawingOptions(command, own)
}

export function addEditCommands(star: Command): void {
  const edit = star.command('edit').description('draw a part of a picture anew, or what lies beyond its edges')
  addChangeOptions(edit, '[prompt]', (command) =>
    addSizeOption(command)
      .option('--from <prompt>', 'what the picture shows: with --to, words say what changes, without a mask')
      .option('--to <prompt>', 'what it is to show: the same with some words changed')
      .option('--share <x>', 'with --to: the share of the picture that changes (default: 0.3)', number('--share', 0, 1))
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
        'below 1, the coarsest (1 − x) of the scales are kept inside the mask too (default: 1); with --to: from 0, the changed part held to what it shows, to 1, drawn as the prompt says (default: 0.5)',
        number('--strength', 0, 1),
      ),
  )
    .addHelpText(
      'after',
      `
Pixels outside of the mask and its feathered edge keep their bytes; those inside have no influence with a strength of 1.
With --from and --to there is no mask: what attends differently to the two prompts is drawn anew, the rest is held, and the picture
has the model's size, or --size.

Examples:
  $ star edit photo.png "a smiling cat" --mask mask.png --out cat.png
  $ star edit photo.png "a red apple" --box 16,16,32,32 --count 4 --out apples/
  $ star edit photo.png "a green meadow" --extend left=64,right=64 --out wide.png
  $ star edit apple.png --from "a red apple" --to "a green apple" --share 0.75 --strength 1 --out green.png`,
    )
    .action((picture: string, prompt: string | undefined, flags: EditFlags) => {
      if (flags.from !== undefined || flags.to !== undefined) return changeWords(picture, prompt, flags)
      if (prompt === undefined)
        throw new StarError(
          'ERR_ARGUMENT',
          'the prompt is missing: say what the changed picture shows, or give --from and --to',
        )
      if (flags.size)
        throw new StarError(
          'ERR_ARGUMENT',
          '--size goes with --from and --to: with a mask the result has the size of the picture',
        )
      if (flags.share !== undefined)
        throw new StarError('ERR_ARGUMENT', '--share goes with --from and --to: a mask says itself which part is drawn')
      const { extend, feather, softEdge, strength, box } = flags
      const mask = box ? { x: box[0], y: box[1], width: box[2], height: box[3] } : flags.mask
      return change(picture, prompt, flags, (model, settings) =>
        model.edit(picture, { ...settings, prompt, mask, extend, feather, softEdge, strength }),
      )
    })

  const vary = star.command('vary').description('draw pictures that are like a given one')
  addChangeOptions(vary, '<prompt>', (command) =>
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

/** Flags that say which part is drawn, where words do not. */
const maskFlags = ['mask', 'box', 'extend', 'feather', 'softEdge'] as const

function changeWords(picture: string, prompt: string | undefined, flags: EditFlags): Promise<void> {
  const { from, to, share, strength } = flags
  if (from === undefined || to === undefined || prompt !== undefined)
    throw new StarError(
      'ERR_ARGUMENT',
      '--from says what the picture shows and --to what it is to show: give both, and no prompt beside them',
    )
  const given = maskFlags.find((name) => flags[name] !== undefined)
  if (given)
    throw new StarError(
      'ERR_ARGUMENT',
      `--${given === 'softEdge' ? 'soft-edge' : given} goes with a mask: with --from and --to words say what changes`,
    )
  return change(picture, to, flags, (model, settings) =>
    model.edit(picture, { ...settings, from, to, share, strength }),
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
