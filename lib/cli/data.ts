/** `star data`: builds data sets to train on. */
import { join } from 'node:path'
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import { Interrupted, interruptible } from './interrupt.js'
import { wholeNumber } from './options.js'
import { checkWritable } from './output.js'
import { Progress } from './progress.js'

export function addDataCommand(star: Command): void {
  const data = star.command('data').description('build data sets to train on')
  data
    .command('emoji')
    .description(
      'pack of emoji pictures with captions, from the npm packages @lobehub/fluent-emoji-3d and emojibase-data',
    )
    .option('-o, --out <folder>', 'folder of the pack', 'runs/data/emoji')
    .option('--size <n>', 'side of the pictures in pixels', wholeNumber('--size', 8, 1024), 128)
    .addHelpText(
      'after',
      `
Five percent of the names are held out for validation, always the same ones.

Examples:
  $ star data emoji
  $ star data emoji --size 64 --out runs/data/emoji-64`,
    )
    .action(emoji)
}

async function emoji(options: { out: string; size: number }): Promise<void> {
  const { buildEmojiPack } = await import('../data/index.js')
  checkWritable(join(options.out, 'emoji-000000'))
  using progress = new Progress('packing')
  await interruptible(async (signal) => {
    try {
      const { paths, count, heldOut } = await buildEmojiPack(options.out, {
        size: options.size,
        signal,
        onProgress: (done, total) => progress.update(done, total),
      })
      progress.stop()
      for (const path of paths) console.log(path)
      console.error(`${count} pictures with captions, ${heldOut} of them held out`)
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted('stopped: nothing was written')
      throw error
    }
  })
}
