/** `star convert`: weights into another file format or type. */
import { type Command, Option } from 'commander'
import { plain, StarError } from '../native/error.js'
import type { Conversion, ConvertedTensor, FloatType } from '../weights/convert.js'
import { Interrupted, interruptible } from './interrupt.js'
import { number } from './options.js'
import { Progress } from './progress.js'
import { addReleasedOptions, type ReleasedFlags, releasedOptions } from './source-options.js'
import { megabytes, table } from './text.js'

interface ConvertFlags extends ReleasedFlags {
  key?: string
  dtype?: FloatType | 'int8'
  shardSize?: number
  layout?: 'reference'
  json?: boolean
}

export function addConvertCommand(star: Command): void {
  const command = star
    .command('convert')
    .description('write weights in another format: safetensors, a folder of shards, or PyTorch .pth')
    .argument('<in>', 'a .safetensors, .pth or .bin file, an index of shards, or a folder of weights')
    .argument('<out>', 'a .safetensors, .pth, .pt, .bin or .ckpt file, or a folder (a path without extension)')
    .option('--key <path>', 'take only what lies below this name, such as trainer.var_wo_ddp')
    .addOption(
      new Option(
        '--dtype <type>',
        'type of floating-point tensors; int8: the matrices of a transformer’s blocks in 8 bits; default: as they are',
      ).choices(['f32', 'f16', 'bf16', 'int8']),
    )
    .option(
      '--shard-size <gigabytes>',
      'most of one file, where <out> is a folder; default 5',
      number('--shard-size', 1e-6),
    )
    .addOption(
      new Option(
        '--layout <name>',
        'reference: a checkpoint as the reference implementation writes it, of a model or of a run with its optimizer',
      ).choices(['reference']),
    )
    .option('--json', 'print one JSON object')
  addReleasedOptions(command)
    .addHelpText(
      'after',
      `
A PyTorch file is read without running anything from it. Numbers and texts beside the tensors are left out.

Examples:
  $ star convert ar-ckpt-last.pth transformer.safetensors --key trainer.var_wo_ddp --dtype f16
  $ star convert model.safetensors model.pth
  $ star convert transformer.safetensors small.safetensors --dtype int8
  $ star convert large.safetensors large --shard-size 2
  $ star convert runs/mine ar-ckpt-last.pth --layout reference`,
    )
    .action(convert)
}

async function convert(input: string, output: string, flags: ConvertFlags): Promise<void> {
  if (flags.layout) return convertLayout(input, output, flags)
  const { convertWeights } = await import('../weights/convert.js')
  const { convertedMetadata } = await import('../models/source.js')
  const { isBlockMatrix } = await import('../models/star/index.js')
  const { dtype } = flags
  using progress = new Progress('writing')
  const done = await interruptible(async (signal) => {
    try {
      return await convertWeights(input, output, {
        key: flags.key,
        ...(dtype === 'int8' ? { int8: isBlockMatrix } : { dtype }),
        metadata: convertedMetadata(input, flags.key, releasedOptions(flags)),
        shardBytes: flags.shardSize && flags.shardSize * 1e9,
        signal,
        onProgress: (bytes, total) => progress.update(Math.round(bytes / 1e6), Math.round(total / 1e6), 'MB'),
      })
    } catch (error) {
      if (signal.aborted) throw new Interrupted('stopped: no complete file was written')
      throw error
    }
  })
  progress.stop()
  if (flags.json) console.log(JSON.stringify(done, null, 2))
  else console.log(listTensors(done.tensors))
  report(done)
}

/** Everything is taken as it is: what a training of the reference resumes from. */
async function convertLayout(input: string, output: string, { layout, json, ...others }: ConvertFlags): Promise<void> {
  const [other] = Object.keys(others)
  if (other)
    throw new StarError(
      'ERR_ARGUMENT',
      `--layout ${layout} goes with no other option but --json: leave --${other.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} out`,
    )
  if (!/\.(pth|pt)$/i.test(output))
    throw new StarError('ERR_ARGUMENT', `the output "${output}" is no .pth file, which --layout ${layout} writes`)
  const { writeReferenceLayout } = await import('../train/checkpoint/reference-layout.js')
  using progress = new Progress('preparing')
  const made = await interruptible(async (signal) => {
    try {
      return await writeReferenceLayout(input, output, {
        signal,
        onProgress: (what, done, total) => progress.update(done, total, what),
      })
    } catch (error) {
      if (signal.aborted) throw new Interrupted('stopped: no file was written')
      throw error
    }
  })
  progress.stop()
  if (json) console.log(JSON.stringify({ input: made, outputs: [output] }, null, 2))
  else console.error(`${made} to ${output}`)
}

const listTensors = (tensors: readonly ConvertedTensor[]): string =>
  table(
    tensors.map(({ name, shape, from, to }) => [
      plain(name, 1000),
      `(${shape.join(', ')})  ${from}${from.toLowerCase() === to ? '' : ` → ${to}`}`,
    ]),
  )

function report({ input, outputs, tensors, bytes, left }: Conversion): void {
  const files = outputs.length > 1 ? `${outputs.length} files, the last ${outputs[outputs.length - 1]}` : outputs[0]
  console.error(`${tensors.length} tensors, ${megabytes(bytes)}, from ${input} to ${files}`)
  if (left.length > 0)
    console.error(
      `left out: ${left.length} values beside the tensors (${left
        .slice(0, 5)
        .map((name) => plain(name))
        .join(', ')}${left.length > 5 ? ', …' : ''})`,
    )
}
