/** `star lora`: what a LoRA is, and a model with LoRAs in its weights. */
import { existsSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { LoraFile } from '../models/lora/index.js'
import { StarError } from '../native/error.js'
import { interruptible } from './interrupt.js'
import { parseLora } from './lora-options.js'
import { addSourceOptions, downloading, type SourceFlags, sourceOptions } from './source-options.js'
import { megabytes, millions, table } from './text.js'

interface MergeFlags extends SourceFlags {
  out: string
  name?: string
  dtype?: 'f32' | 'f16'
  force?: boolean
}

export function addLoraCommands(star: Command): void {
  const lora = star.command('lora').description('LoRAs: small files that change how a model draws')
  lora
    .command('info')
    .description('describe a LoRA')
    .argument('<lora>', 'its folder, its file, or its name on Hugging Face')
    .option('--json', 'print one JSON object')
    .option('--offline', 'of one on Hugging Face: use what was downloaded before (default: HF_HUB_OFFLINE)')
    .addHelpText(
      'after',
      `
Example:
  $ star lora info runs/my-style/model`,
    )
    .action(info)
  const command = lora
    .command('merge')
    .description('write a model that has LoRAs in its weights')
    .argument('<model>', 'a shipped model, a model folder, a checkpoint (.pth, .safetensors) or a Hugging Face model')
    .argument('<lora...>', 'LoRAs, each as PATH or PATH:STRENGTH')
    .requiredOption('-o, --out <folder>', 'the model folder to write')
    .option('--name <name>', 'name of the model (default: that of the folder)')
    .addOption(
      new Option('--dtype <type>', 'of the stored weights (default: as the model stores them)').choices(['f32', 'f16']),
    )
    .option('-f, --force', 'replace the folder where there is one')
  addSourceOptions(command)
    .addHelpText(
      'after',
      `
Weights are added up in f32: W + strength · alpha/rank · B·A of each LoRA. What is written draws without the LoRAs, as fast as the model.

Examples:
  $ star lora merge emoji-64 runs/my-style/model --out my-model
  $ star lora merge emoji-64 runs/my-style/model:0.8 runs/other/model:0.3 --out my-model --dtype f32`,
    )
    .action(merge)
}

async function info(path: string, flags: { json?: boolean; offline?: boolean }): Promise<void> {
  const { localLora } = await import('../models/local.js')
  const { openLora } = await import('../models/lora/index.js')
  const {
    tensors: _,
    shapes,
    ...found
  } = await interruptible((signal) =>
    downloading(flags.offline, signal, async (hub) => openLora(await localLora(path, hub))),
  )
  const matrices = Array.from(shapes, ([name, shape]) => ({ name, ...shape }))
  if (flags.json) return console.log(JSON.stringify({ ...found, matrices }, null, 2))
  const ranks = [...new Set(matrices.map(({ rank }) => rank))]
  const places = [...new Set(matrices.map(({ name }) => name.replace(/^blocks\.\d+\./, '')))]
  console.log(
    table([
      ['LoRA', found.name],
      ['path', found.path],
      ['size', `${millions(found.parameters)} values, ${megabytes(found.bytes)}`],
      ['of the model', found.base.name ?? 'it does not say'],
      ['with weights', found.base.hash?.slice(0, 12) ?? 'it does not say'],
      ...sizesOf(found.pictures),
      ['rank', ranks.join(', ')],
      ['alpha', String(found.alpha)],
      ['matrices', `${matrices.length}: ${places.join(', ')} of each block`],
    ]),
  )
}

const sizesOf = (pictures: LoraFile['pictures']): [string, string][] =>
  pictures.length === 0 ? [] : [['trained on', pictures.map(([width, height]) => `${width} × ${height}`).join(', ')]]

async function merge(model: string, given: string[], flags: MergeFlags): Promise<void> {
  const loras = given.map(parseLora)
  const { out, name = basename(resolve(out)), dtype, force, offline } = flags
  if (existsSync(out) && !force)
    throw new StarError('ERR_ARGUMENT', `${out} is there already: name another folder (--out), or replace it (--force)`)
  const { localLora, localModel } = await import('../models/local.js')
  const { openLora, strangeLoras, writeMergedModel } = await import('../models/lora/index.js')
  const { findModel } = await import('../models/source.js')
  await interruptible((signal) =>
    downloading(offline, signal, async (hub) => {
      const here = await localModel(model, sourceOptions(flags), hub)
      const source = findModel(here.path, here.options)
      const opened = []
      for (const { path, strength = 1 } of loras) opened.push({ lora: openLora(await localLora(path, hub)), strength })
      writeMergedModel(out, source, opened, { name, dtype })
      for (const line of strangeLoras(opened, source)) console.error(`note: ${line}`)
    }),
  )
  console.log(out)
}
