/** How commands take a run configuration: a file, flags of the reference implementation, and keys that are set. */
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import type { ReadOptions, ReadRun } from '../train/run-config.js'

export interface RunArguments {
  config: string
  /** `--bs 16` */
  flags: ReadonlyMap<string, string>
  /** `--set optimizer.batchSize=16` */
  set: readonly (readonly [key: string, value: string])[]
}

const flagsHelp = `
Configurations of the reference implementation take its flags, which override the file (docs/configuration.md lists them all):
  --depth --bs --ep --fp16 --alng --wpe --tlr --ac --saln --pn --exp_name --local_out_dir_path --pretrained_ckpt …`

/** Adds the arguments; what commander does not know is left to `runArguments`. */
export function addRunOptions(command: Command): Command {
  return command
    .argument('[config]', 'configuration file (JSON, comments allowed)')
    .option('--config <file>', 'the same, as the reference implementation takes it')
    .option(
      '--set <key=value>',
      'change a key of the file, such as optimizer.batchSize=16; may be given again',
      (text: string, before: string[] = []) => [...before, text],
    )
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText('after', flagsHelp)
}

function assignment(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1)
    throw new StarError('ERR_ARGUMENT', `--set is "${text}", expected KEY=VALUE such as optimizer.batchSize=16`)
  return [text.slice(0, at), text.slice(at + 1)]
}

/**
 * Sorts what commander left: `--key value` and `--key=value` are flags, anything else is the file.
 * @throws ERR_ARGUMENT for a flag without a value, and unless exactly one file is given
 */
export function runArguments(
  rest: readonly string[],
  options: { config?: string; set?: readonly string[] },
): RunArguments {
  const flags = new Map<string, string>()
  const files = options.config === undefined ? [] : [options.config]
  for (let i = 0; i < rest.length; i++) {
    const [, name, value] = /^--([^=]+)(?:=([\s\S]*))?$/.exec(rest[i]) ?? []
    if (name === undefined) {
      if (rest[i].startsWith('-')) throw new StarError('ERR_ARGUMENT', `unknown option ${rest[i]}: see --help`)
      files.push(rest[i])
    } else if (value !== undefined) flags.set(name, value)
    else {
      const next = rest.at(++i)
      if (next === undefined || next.startsWith('--'))
        throw new StarError('ERR_ARGUMENT', `--${name} has no value: give it as --${name} VALUE`)
      flags.set(name, next)
    }
  }
  if (files.length !== 1)
    throw new StarError(
      'ERR_ARGUMENT',
      files.length === 0
        ? 'no configuration was given: name its file, such as configs/emoji-64.json'
        : `one configuration was expected, but there are ${files.join(' and ')}`,
    )
  return { config: files[0], flags, set: (options.set ?? []).map(assignment) }
}

/** Reads the configuration and tells on standard error what has no effect in it. */
export async function readRun({ config, flags, set }: RunArguments, kind?: ReadOptions['kind']): Promise<ReadRun> {
  const { readRunConfig } = await import('../train/run-config.js')
  const read = readRunConfig(config, { kind, flags, set })
  for (const notice of read.notices) console.error(`note: ${notice}`)
  return read
}

const plain = /^[\w@%+=:,./-]+$/

/** A command line that a shell reads back into the same words. */
export const commandLine = (words: readonly string[]): string =>
  words.map((word) => (plain.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
