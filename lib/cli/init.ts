/** `star init`: configurations for one's own pictures, sized for them and for this machine. */
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import type { Starter, Survey } from '../train/starter/index.js'
import { Interrupted, interruptible } from './interrupt.js'
import { wholeNumber } from './options.js'
import { Progress } from './progress.js'
import { commandLine } from './run-options.js'
import { table } from './text.js'

interface InitFlags {
  data: string
  size?: number
  device: string
  force?: boolean
}

export function addInitCommand(star: Command): void {
  star
    .command('init')
    .description('look at your own pictures and write configurations that train a model of them on this machine')
    .argument('<folder>', 'folder of the new model’s trainings')
    .requiredOption('--data <path>', 'your pictures: what "star pack" takes, or packs')
    .option(
      '--size <n>',
      'side of the pictures that the model draws: 32, 64, 128, 256 or 512 (default: by the pictures and the machine)',
      wholeNumber('--size', 1, 4096),
    )
    .option('-d, --device <name>', 'what is to be trained on, and measured: auto, cpu or cuda', 'auto')
    .option('--force', 'replace configurations that are there')
    .addHelpText(
      'after',
      `
FOLDER gets tokenizer.json and transformer.json with comments. The time and memory they tell were measured, by taking some steps
on this machine with what else it does. The commands to type next are printed.

Examples:
  $ star init my-run --data my-pictures
  $ star init my-run --data data/mine --size 128`,
    )
    .action(init)
}

/** Of a GPU, whose memory nobody tells beforehand, a training is made to take so much at most: nearly all have it. */
const gpuMemory = 6e9

const percent = (part: number, all: number): string => `${Math.round((100 * part) / all)} %`

/** What was found, in some lines. */
function describeSurvey({ total, pictures, withoutCaption, unreadable, heldOut }: Survey): string[] {
  const shorter = pictures.map(({ width, height }) => Math.min(width, height)).sort((a, b) => a - b)
  const words = pictures.map(({ captions }) => captions[0].split(/\s+/).length).sort((a, b) => a - b)
  const middle = <T>(sorted: readonly T[]): T => sorted[sorted.length >> 1]
  const range = (sorted: readonly number[], unit: string): string => {
    const [low, high] = [sorted[0], sorted[sorted.length - 1]]
    return low === high ? `${low} ${unit}` : `${low} to ${high} ${unit} (median ${middle(sorted)})`
  }
  const looked = pictures.length + withoutCaption + unreadable
  const faults = [
    ...(withoutCaption > 0 ? [`${withoutCaption} without a caption`] : []),
    ...(unreadable > 0 ? [`${unreadable} unreadable`] : []),
  ]
  return [
    `${total} pictures${looked < total ? `, of which ${looked} were looked at` : ''}${heldOut > 0 ? `, ${heldOut} of them held out` : ''}${faults.length > 0 ? `; ${faults.join(', ')}: left out` : ''}`,
    `shorter side: ${range(shorter, 'pixels')}`,
    `captions: ${range(words, 'words')}, such as "${middle(pictures).captions[0]}"`,
  ]
}

function describeStarter(
  { sizes, filtering, estimates }: Starter,
  { pictures }: Survey,
  { folder, amount, duration }: { folder: string; amount: (bytes: number) => string; duration: (s: number) => string },
): string {
  const notes = Object.entries(filtering.leftOut).map(
    ([filter, count]) =>
      `note: the filter "${filter}" leaves out ${count} pictures (${percent(count, pictures.length)}); data.filters changes it`,
  )
  if (filtering.enlarged > 0)
    notes.push(`note: ${filtering.enlarged} pictures are smaller than ${sizes.side} pixels and will be enlarged`)
  const rows = (['tokenizer', 'transformer'] as const).map((kind): [string, string] => {
    const { seconds, bytes } = estimates[kind]
    const { steps, batchSize } = sizes[kind]
    const expected = `about ${duration(seconds)} and ${amount(bytes)} of memory`
    return [join(folder, `${kind}.json`), `${steps} steps of ${batchSize} pictures: ${expected}`]
  })
  return [...notes, `the model will draw ${sizes.side}×${sizes.side} pixels`, table(rows)].join('\n')
}

/** The commands that make a model, in order. */
function nextCommands(folder: string, data: string, packed: boolean, heldOut: number, prompt: string): string[] {
  const packing = ['star', 'pack', data, '--out', join(folder, 'data'), '--held-out', `${heldOut}`]
  return [
    ...(packed ? [] : [packing]),
    ['star', 'train-tokenizer', join(folder, 'tokenizer.json')],
    ['star', 'train', join(folder, 'transformer.json')],
    ['star', 'sample', prompt, '--model', join(folder, 'transformer', 'model')],
  ].map(commandLine)
}

async function init(folder: string, { data, size, device: asked, force }: InitFlags): Promise<void> {
  for (const name of ['tokenizer.json', 'transformer.json'])
    if (existsSync(join(folder, name)) && !force)
      throw new StarError('ERR_FILE', `${join(folder, name)} is there already: name another folder, or give --force`)
  const { amount, duration, heldOutShare, makeStarter, surveyData } = await import('../train/starter/index.js')
  const { resolveDevice } = await import('../tensor/index.js')
  const { hostMemory } = await import('../train/kinds/transformer/plan.js')
  const { makeFolder, writeFileAtomic } = await import('../native/files.js')
  const device = resolveDevice(asked)
  const machine = device === 'cpu' ? `${availableParallelism()} processor cores` : 'the GPU of this machine'
  await interruptible(async (signal) => {
    try {
      using looking = new Progress('looking at pictures')
      const survey = await surveyData(data, {
        signal,
        onProgress: (done, total) => looking.update(done, total ?? done),
      })
      looking.stop()
      for (const line of describeSurvey(survey)) console.error(line)
      using measuring = new Progress('measuring this machine')
      const starter = await makeStarter(survey, {
        ...{ folder, device, machine, size, signal },
        packs: survey.packed ? data : join(folder, 'data'),
        memory: device === 'cpu' ? hostMemory() / 2 : gpuMemory,
        onProgress: (done, total) => measuring.update(done, total),
      })
      measuring.stop()
      console.error(describeStarter(starter, survey, { folder, amount, duration }))
      makeFolder(folder)
      for (const { name, text } of starter.files) writeFileAtomic(join(folder, name), text)
      const commands = nextCommands(folder, data, survey.packed, heldOutShare, starter.prompts[0])
      console.error(`measured on ${machine}, with what else the machine does now. Next:`)
      for (const command of commands) console.log(command)
    } catch (error) {
      if (error instanceof StarError && error.code === 'ERR_ABORTED')
        throw new Interrupted('stopped: nothing was written')
      throw error
    }
  })
}
