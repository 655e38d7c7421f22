/** `star sample`: draws pictures of prompts. */
import type { Command } from 'commander'
import type { ImageGrid, StarImage } from '../image.js'
import { StarError } from '../native/error.js'
import {
  addDrawingOptions,
  addSizeOption,
  type DrawingFlags,
  drawingSettings,
  loadStar,
  progressOf,
} from './drawing-options.js'
import { Interrupted, interruptible } from './interrupt.js'
import { wholeNumber } from './options.js'
import { checkWritable, namesFile, picturePaths } from './output.js'
import { Progress } from './progress.js'

interface SampleOptions extends DrawingFlags {
  out: string
  count: number
  grid?: boolean
}

export function addSampleCommand(star: Command): void {
  const command = star
    .command('sample')
    .description('draw pictures of prompts')
    .argument(
      '<prompt...>',
      'what to draw; several prompts give several pictures; - reads them from standard input, one a line',
    )
    .option(
      '-o, --out <path>',
      'a .png, .jpg, .webp or .avif file, or a folder for PROMPT-SEED.png; - writes one PNG to standard output',
      'star.png',
    )
    .option('-n, --count <n>', 'pictures of each prompt', wholeNumber('--count', 1, 100_000), 1)
  addDrawingOptions(command, (drawing) =>
    addSizeOption(drawing).option('--grid', 'one picture with all of them side by side'),
  )
    .addHelpText(
      'after',
      `
The prompt and all settings are in each file: "star again" draws it again. The same prompt, seed and settings draw the same
picture.

Examples:
  $ star sample "a red apple" --out apple.png
  $ star sample "a red apple" "a green apple" --count 4 --grid --out apples.png
  $ star sample - --out pictures/ < prompts.txt
  $ star sample "a red apple" --out - | display
  $ star sample "a red apple" --size 80x56 --out wide.png
  $ star sample "a red apple" --lora runs/my-style/model:0.8 --out apple.png
  $ star sample "a sleeping cat" --model runs/mine/model --seed 7 --cfg 3 --top-k 300 --top-p 0.9 --out cats/`,
    )
    .action(sample)
}

/** Most bytes that are read from standard input. */
const maxInput = 16 << 20

async function promptsOfInput(): Promise<string[]> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer)
    size += (chunk as Buffer).length
    if (size > maxInput)
      throw new StarError(
        'ERR_ARGUMENT',
        `standard input holds more than ${maxInput} bytes of prompts: split it into several runs`,
      )
  }
  const lines = Buffer.concat(chunks)
    .toString('utf8')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
  if (lines.length === 0) throw new StarError('ERR_ARGUMENT', 'standard input holds no prompt: give one prompt a line')
  return lines
}

async function sample(given: string[], options: SampleOptions): Promise<void> {
  const { readPrompts } = await import('../prompts.js')
  const { imageGrid } = await import('../image.js')
  const prompts = given.length === 1 && given[0] === '-' ? await promptsOfInput() : given
  readPrompts(prompts)
  const { count, seed } = options
  const names = prompts.flatMap((prompt) => Array.from({ length: count }, (_, j) => ({ prompt, seed: seed + j })))
  const toStdout = options.out === '-'
  if (toStdout && names.length > 1 && !options.grid)
    throw new StarError('ERR_ARGUMENT', `--out - takes one picture, not ${names.length}: name a folder, or add --grid`)
  if (options.grid && !toStdout && !namesFile(options.out))
    throw new StarError('ERR_ARGUMENT', `--out is "${options.out}", but a grid is one file: end the name in .png`)
  const paths = toStdout
    ? []
    : picturePaths(options.out, options.grid ? names.slice(0, 1) : names, options.force ?? false)
  for (const path of new Set(paths.length > 0 ? [paths[0], paths[paths.length - 1]] : [])) checkWritable(path)

  await interruptible(async (signal) => {
    await using star = await loadStar(options, signal)
    using progress = new Progress('drawing')
    let written = 0
    try {
      const stream = star.stream(prompts, {
        ...drawingSettings(options),
        count,
        signal,
        onScale: progressOf(progress, options.batch),
      })
      const forGrid = []
      for await (const image of stream) {
        if (options.grid) forGrid.push(image)
        else await write(image, paths.at(written))
        written++
      }
      if (options.grid)
        await write(imageGrid(forGrid, { columns: prompts.length > 1 && count > 1 ? count : undefined }), paths.at(0))

      /** Without a path to standard output. */
      async function write(picture: StarImage | ImageGrid, path: string | undefined): Promise<void> {
        if (path === undefined) {
          const bytes = await picture.toBuffer()
          progress.stop()
          await new Promise<void>((resolve) => process.stdout.write(bytes, () => resolve()))
        } else {
          await picture.save(path)
          progress.stop()
          console.log(path)
        }
      }
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_ABORTED') throw error
      const kept = options.grid ? 'nothing was written' : `${written} of ${names.length} pictures were written`
      throw new Interrupted(`stopped: ${kept}`)
    }
  })
}
