/** `star morph`: an animation from one prompt to another. */
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
import { wholeNumber } from './options.js'
import { checkWritable, freeNames } from './output.js'
import { Progress } from './progress.js'

interface MorphFlags extends DrawingFlags {
  out: string
  frames: number
  delay: number
}

export function addMorphCommand(star: Command): void {
  const command = star
    .command('morph')
    .description('draw an animation that leads from one prompt to another')
    .argument('<from>', 'the first prompt')
    .argument('<to>', 'the last prompt')
    .option('-o, --out <path>', 'a .gif or .webp file', 'morph.webp')
  addDrawingOptions(command, (drawing) =>
    addSizeOption(drawing)
      .option('--frames <n>', 'pictures, the first and the last included', wholeNumber('--frames', 2, 1000), 16)
      .option('--delay <ms>', 'milliseconds that each picture is shown', wholeNumber('--delay', 1, 60_000), 100),
  )
    .addHelpText(
      'after',
      `
All pictures are drawn from the same random numbers, each from both prompts, with weights that go from one to the other.

Examples:
  $ star morph "a red apple" "a green apple" --out apples.gif
  $ star morph "a cat" "a dog" --frames 32 --delay 60 --more-smooth --out pets.webp`,
    )
    .action(morph)
}

async function morph(from: string, to: string, options: MorphFlags): Promise<void> {
  const { readPrompts } = await import('../prompts.js')
  const { animationFormat } = await import('../animation.js')
  readPrompts([from, to])
  animationFormat(options.out)
  const out = options.force ? options.out : freeNames()(options.out)
  checkWritable(out)
  await interruptible(async (signal) => {
    await using star = await loadStar(options, signal)
    using progress = new Progress('drawing')
    const { frames, delay } = options
    try {
      const onScale = progressOf(progress, options.batch)
      const animation = await star.morph(from, to, { ...drawingSettings(options), frames, signal, onScale })
      await animation.save(out, { delay })
    } catch (error) {
      if (!(error instanceof StarError) || error.code !== 'ERR_ABORTED') throw error
      throw new Interrupted('stopped: nothing was written')
    }
    progress.stop()
    console.log(out)
  })
}
