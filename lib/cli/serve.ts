/** `star serve`: a page that makes pictures, and the APIs of OpenAI and AUTOMATIC1111. */
import { type Command, Option } from 'commander'
import { StarError } from '../native/error.js'
import type { LoadOptions } from '../star.js'
import { modelOptions } from './drawing-options.js'
import { interruptible } from './interrupt.js'
import { addListenOptions, type ListenFlags, listenOptions } from './listen-options.js'
import { addLoraOptions, type LoraFlags } from './lora-options.js'
import { wholeNumber } from './options.js'
import { addSourceOptions, type SourceFlags } from './source-options.js'

interface ServeFlags extends ListenFlags, SourceFlags, LoraFlags {
  queue: number
  batch: number
  idleUnload: number
  loras?: string[]
  device: string
  dtype?: LoadOptions['dtype']
  decoderDtype?: LoadOptions['decoderDtype']
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A length of time in milliseconds: `10m`, `90s`, `2h`; `0` for never. */
function duration(text: string): number {
  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim()) ?? []
  if (number === undefined)
    throw new StarError(
      'ERR_ARGUMENT',
      `--idle-unload is "${text}", expected a time such as 10m, 90s or 2h, or 0 for never`,
    )
  return Number(number) * units[unit]
}

export function addServeCommand(star: Command): void {
  const command = star
    .command('serve')
    .description('make pictures in a browser, and answer clients of OpenAI’s Images API and of AUTOMATIC1111’s')
    .argument(
      '[models...]',
      'shipped models, model folders, checkpoints or Hugging Face models; the first is the default',
      ['emoji-64'],
    )
  addListenOptions(command, 7860)
    .option('--queue <n>', 'requests that may wait; one more is answered with 429', wholeNumber('--queue', 0), 64)
    .option('--batch <n>', 'pictures drawn together', wholeNumber('--batch', 1, 1024), 8)
    .addOption(
      new Option('--idle-unload <time>', 'unload models that nobody asked for so long; 0: never')
        .argParser(duration)
        .default(600_000, '10m'),
    )
    .option('-d, --device <name>', 'auto (a GPU where one is available), cpu or cuda', 'auto')
    .addOption(
      new Option('--dtype <type>', 'of weights and caches')
        .choices(['auto', 'f32', 'f16', 'bf16', 'int8'])
        .default('auto'),
    )
    .addOption(new Option('--decoder-dtype <type>', 'in which tokens become pixels').choices(['f32', 'f16', 'bf16']))
  addLoraOptions(addSourceOptions(command))
    .option(
      '--loras <path>',
      'a LoRA, or a folder of them, that requests and the page may choose; may be given again',
      (path: string, before: string[] = []) => [...before, path],
    )
    .addHelpText(
      'after',
      `
Open the address that it prints. Clients of OpenAI take it with /v1 as base URL; docs/serve.md says more.

Examples:
  $ star serve
  $ star serve emoji-64 runs/mine/model --port 8000
  $ star serve emoji-64 --loras styles/
  $ STAR_API_KEY=… star serve --host 0.0.0.0 --allow-host pictures.example.org`,
    )
    .action(serve)
}

async function serve(models: string[], options: ServeFlags): Promise<void> {
  const { serveModels } = await import('../server/index.js')
  const { queue, batch, idleUnload, offline, loras } = options
  await interruptible(async (signal) => {
    const server = await serveModels({
      models,
      queue,
      batch,
      idleUnload,
      loras,
      ...listenOptions(options),
      load: { ...modelOptions(options), offline },
      log: (line) => console.error(`star serve: ${line}`),
    })
    console.log(`${server.address} draws with ${models.join(', ')}; Ctrl-C ends`)
    await new Promise((resolve) => {
      if (signal.aborted) resolve(undefined)
      else signal.addEventListener('abort', resolve, { once: true })
    })
    await server.close()
  })
}
