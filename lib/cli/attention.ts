/** `star attention`: where a picture shows the words of a prompt. */
import type { Command } from 'commander'
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
import { indexList } from './options.js'
import { checkWritable, freeNames } from './output.js'
import { Progress } from './progress.js'

interface AttentionFlags extends DrawingFlags {
  out: string
  image?: string
  atScales?: number[]
  atBlocks?: number[]
}

export function addAttentionCommand(star: Command): void {
  const command = star
    .command('attention')
    .description('show where a picture attends to each word of a prompt')
    .argument('<prompt>', 'what the picture shows')
    .option('-o, --out <path>', 'a .png file: the picture, then a heat map for each word', 'attention.png')
  addDrawingOptions(command, (drawing) =>
    addSizeOption(drawing)
      .option('--image <file>', 'a picture to look at (default: one that is drawn of the prompt)')
      .option(
        '--at-scales <list>',
        'indices of the scales that count, such as 4,5 (default: those of at least half the last one’s side)',
        indexList('--at-scales'),
      )
      .option('--at-blocks <list>', 'indices of the blocks that count (default: all)', indexList('--at-blocks')),
  )
    .addHelpText(
      'after',
      `
Each map goes from dark, where the picture attends least to the word, to bright, where it does most.

Examples:
  $ star attention "a red apple" --out apple-words.png
  $ star attention "a red apple" --image apple.png --at-blocks 2,3`,
    )
    .action(attention)
}

async function attention(prompt: string, options: AttentionFlags): Promise<void> {
  const { readPrompts } = await import('../prompts.js')
  readPrompts(prompt)
  const { image, atScales: scales, atBlocks: blocks } = options
  if (!options.out.toLowerCase().endsWith('.png'))
    throw new StarError(
      'ERR_ARGUMENT',
      `"${options.out}" does not name a PNG, which maps are written as: end it in .png`,
    )
  const out = options.force ? options.out : freeNames()(options.out)
  checkWritable(out)
  await interruptible(async (signal) => {
    await using star = await loadStar(options, signal)
    using progress = new Progress('drawing')
    try {
      const onScale = progressOf(progress, options.batch)
      const settings = { ...drawingSettings(options), image, scales, blocks, signal, onScale }
      const maps = await star.attention(prompt, settings)
      await maps.save(out)
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_ABORTED') throw error
      throw new Interrupted('stopped: nothing was written')
    }
    progress.stop()
    console.log(out)
  })
}
