/** `star pack`: images with captions into packs to train on, and a check of packs. */
import { basename, join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { PackReport } from '../data/index.js'
import { StarError } from '../native/error.js'
import { Interrupted, interruptible } from './interrupt.js'
import { number, wholeNumber } from './options.js'
import { Progress } from './progress.js'
import { table } from './text.js'

interface PackFlags {
  out?: string
  name?: string
  workers?: number
  heldOut?: number
}

export function addPackCommand(star: Command): void {
  const workers = ['--workers <n>', 'images worked on at once', wholeNumber('--workers', 1, 1024)] as const
  const pack = star
    .command('pack')
    .description('pack images with captions into LMDB files, as training reads them')
    .argument('<input...>', 'a folder or list of images with captions, or WebDataset tars')
    .option('-o, --out <folder>', 'folder of the packs')
    .option('--name <dataset>', 'first part of the packs’ names; default: that of the input')
    .option(
      '--held-out <fraction>',
      'fraction of the images kept for validation, such as 0.05',
      number('--held-out', 0, 0.9),
    )
    .option(...workers)
    .addHelpText(
      'after',
      `
Input: a folder with images/ and jsons/ (one JSON an image: id, basename, prompt, and more captions), a folder of images with
a .txt or .json beside each, a .csv or .jsonl list (path, prompt, and more), or .tar files of WebDataset. PNG files are packed as
they are, others are stored as PNG, upright where EXIF says how they were held. A pack holds at most 10,000 images. The same
command resumes an interrupted one. What is held out is drawn by a hash of the names, so it is the same every time.
pack-report.json says what was left out and why.

Examples:
  $ star pack my-pictures --out data/mine --held-out 0.05
  $ star pack list.csv --out data/mine --name mine
  $ star pack shard-*.tar --out data/web
  $ star pack verify data/mine`,
    )
    .action(packInputs)
  // Options behind `verify` belong to it.
  pack.enablePositionalOptions()
  pack
    .command('verify')
    .description('read and decode every image of packs, and tell which are damaged')
    .argument('<packs...>', 'packs or folders of packs')
    .option(...workers)
    .action(verify)
}

const datasetOf = (input: string): string => {
  const name = basename(resolve(input))
    .replace(/\.(csv|jsonl|ndjson|tar)$/i, '')
    .replaceAll(/[^\p{L}\p{N}_.-]+/gu, '-')
  return name.replace(/^[.-]+/, '') || 'images'
}

const reasons: Record<string, string> = {
  noImage: 'without an image',
  noCaption: 'without a caption',
  badInfo: 'whose JSON cannot be used',
  badImage: 'whose image cannot be decoded',
  badKey: 'whose name is too long',
  badTar: 'because their tar is damaged behind those packed',
  twice: 'whose name another one has',
}

function describe({ images, inputs, heldOut, packs, leftOut, leftOutInputs }: PackReport): string {
  const total = inputs - images
  const rows = Object.entries(leftOut).map(([reason, count]): [string, string] => {
    const first = leftOutInputs.find((input) => input.reason === reason)
    return [`  ${count} ${reasons[reason] ?? reason}`, first ? `first: ${first.name} (${first.detail})` : '']
  })
  const kept = heldOut > 0 ? `, ${heldOut} of them for validation` : ''
  return [
    `${images} images in ${packs.length} ${packs.length === 1 ? 'pack' : 'packs'}${kept}, ${total} left out${total > 0 ? ':' : ''}`,
    ...(rows.length > 0 ? [table(rows)] : []),
  ].join('\n')
}

async function packInputs(inputs: string[], flags: PackFlags): Promise<void> {
  const { out } = flags
  if (!out) throw new StarError('ERR_ARGUMENT', '--out is missing: name the folder of the packs')
  const { packImages } = await import('../data/index.js')
  using progress = new Progress('packing')
  await interruptible(async (signal) => {
    try {
      const report = await packImages(inputs, {
        dataset: flags.name ?? datasetOf(inputs[0]),
        out,
        workers: flags.workers,
        heldOut: flags.heldOut,
        signal,
        onProgress: (done, total) => progress.update(done, total ?? done),
      })
      progress.stop()
      for (const { name } of report.packs) console.log(join(out, name))
      console.error(describe(report))
      if (report.images === 0)
        throw new StarError(
          'ERR_FILE',
          `no image of ${inputs.join(', ')} could be packed: ${join(out, 'pack-report.json')} says why`,
        )
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted('stopped: finished packs stay, and the same command resumes')
      throw error
    }
  })
}

async function verify(packs: string[], flags: { workers?: number }): Promise<void> {
  const { verifyPacks } = await import('../data/index.js')
  await interruptible(async (signal) => {
    let [images, bad, problems] = [0, 0, 0]
    try {
      using progress = new Progress('checking')
      const onProgress = (done: number, total: number): void => progress.update(done, total)
      for await (const found of verifyPacks(packs, { workers: flags.workers, signal, onProgress })) {
        progress.stop()
        images += found.images
        bad += found.bad
        problems += found.problems.length
        console.log(`${found.pack}: ${found.images} images, ${found.bad} damaged`)
        for (const problem of found.problems) console.log(`  ${problem}`)
      }
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted('stopped before all packs were checked')
      throw error
    }
    if (problems > 0)
      throw new StarError(
        'ERR_FILE',
        `${bad} of ${images} records are damaged or their files changed: copy the packs again, or pack the images again`,
      )
  })
}
