/** `star info`: what this installation can do, or what a model is. */
import type { Command } from 'commander'
import type { ModelInfo } from '../engine/model-info.js'
import { interruptible } from './interrupt.js'
import { addSourceOptions, downloading, type SourceFlags, sourceOptions } from './source-options.js'
import { megabytes, millions, table } from './text.js'

interface InfoFlags extends SourceFlags {
  json?: boolean
}

export function addInfoCommand(star: Command): void {
  const command = star
    .command('info')
    .description('describe a model, or without one the devices and shipped models')
    .argument('[model]', 'a shipped model, a model folder, a checkpoint (.pth, .safetensors) or a Hugging Face model')
    .option('--json', 'print one JSON object')
  addSourceOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  $ star info
  $ star info emoji-64
  $ star info runs/mine/model --json
  $ star info ar-ckpt-last.pth --tokenizer vae_ch160v4096z32.pth`,
    )
    .action(async (model: string | undefined, options: InfoFlags) => {
      if (model === undefined) await installation(options.json ?? false)
      else {
        const info = await described(model, options)
        console.log(options.json ? JSON.stringify(info, null, 2) : describeModel(info))
      }
    })
}

async function described(model: string, flags: InfoFlags): Promise<ModelInfo> {
  const { modelInfo } = await import('../engine/model-info.js')
  const { localModel } = await import('../models/local.js')
  return await interruptible((signal) =>
    downloading(flags.offline, signal, async (hub) => {
      const { path, options } = await localModel(model, sourceOptions(flags), hub)
      return modelInfo(path, options)
    }),
  )
}

/** Nothing where that is the square alone. */
const trainedShapes = ({ imageSize, shapes }: ModelInfo): [string, string][] =>
  shapes.every(({ width, height }) => width === imageSize && height === imageSize)
    ? []
    : [['trained on', shapes.map(({ width, height }) => `${width} × ${height}`).join(', ')]]

/** A model as lines of names and values. */
export function describeModel(info: ModelInfo): string {
  const { tokenizer, transformer } = info
  const rows: [string, string][] = [
    ['model', info.name],
    ['path', info.path],
    ['pictures', `${info.imageSize} × ${info.imageSize}`],
    ...trainedShapes(info),
    ['scales', `${info.scales.join(' ')} (${info.tokens} tokens)`],
    [
      'tokenizer',
      `${millions(tokenizer.parameters)} values, ${megabytes(tokenizer.bytes)}, ${tokenizer.config.vocabSize} codes of ${tokenizer.config.latentChannels} channels`,
    ],
  ]
  if (transformer)
    rows.push(
      [
        'transformer',
        `${millions(transformer.parameters)} values, ${megabytes(transformer.bytes)}, depth ${transformer.config.depth}, width ${transformer.config.width}, ${transformer.config.heads} heads`,
      ],
      [
        'sampler head',
        info.samplerHead
          ? `${millions(info.samplerHead.parameters)} values, ${megabytes(info.samplerHead.bytes)}`
          : 'none (tokens of a scale are drawn at once)',
      ],
      ['text encoder', info.textEncoder ?? 'not known: name it with --text-encoder when you sample'],
      [
        'cross-attention',
        info.crossAttention === 'first-sample'
          ? 'first-sample (as the released program computes it)'
          : 'per-sample (each picture attends to its own prompt)',
      ],
      [
        'sampling',
        Object.entries(info.sampling)
          .map(([key, value]) => `${key} ${value}`)
          .join(', ') || 'general defaults',
      ],
    )
  else rows.push(['transformer', 'none: a tokenizer only'])
  if (info.startedFrom) rows.push(['started from', info.startedFrom])
  return table(rows)
}

async function installation(json: boolean): Promise<void> {
  const { native, packageRoot } = await import('../native/index.js')
  const { devices: allDevices } = await import('../native/devices.js')
  const { shippedModels } = await import('../weights/index.js')
  const devices = allDevices()
  const models = [...shippedModels().keys()]
  const threads = native.threadCount()
  const { drawingTypes } = await import('../engine/model-type.js')
  const { dtype } = drawingTypes({}, { device: 'cpu', stored: new Set() })
  const setBy = ['STAR_THREADS', 'OMP_NUM_THREADS'].find(
    (name) => Number.parseInt(process.env[name] ?? '', 10) === threads,
  )
  if (json)
    console.log(
      JSON.stringify({ node: process.version, folder: packageRoot, threads, dtype, devices, models }, null, 2),
    )
  else
    console.log(
      table([
        ['node', process.version],
        ['package', packageRoot],
        ['threads', `${threads}${setBy ? ` (${setBy})` : ''}`],
        ['draws on the CPU in', dtype],
        ...devices.map(({ name, available, detail }): [string, string] => [
          `device ${name}`,
          available ? detail : `not available: ${detail}`,
        ]),
        ['models', models.join(', ') || 'none'],
      ]),
    )
}
