/** `star config`: the resolved form of a run configuration, or the JSON Schema of all of them. */
import type { Command } from 'commander'
import { addRunOptions, readRun, runArguments } from './run-options.js'
import { table } from './text.js'

interface ConfigFlags {
  schema?: boolean
  explain?: boolean
  config?: string
  set?: string[]
}

export function addConfigCommand(star: Command): void {
  addRunOptions(star.command('config'))
    .description('print the resolved run configuration, with defaults and flags; nothing is trained')
    .option('--schema', 'print the JSON Schema of run configurations, by which editors complete and check them')
    .option('--explain', 'print, key by key, how the file was understood')
    .addHelpText(
      'after',
      `
Examples:
  $ star config configs/config_d16_256.json --bs 256
  $ star config configs/emoji-64.json --set optimizer.steps=100
  $ star config config_d30_512.json --explain
  $ star config --schema`,
    )
    .action(async (_: string | undefined, flags: ConfigFlags, command: Command) => {
      if (flags.schema) {
        const { runJsonSchema } = await import('../train/json-schema.js')
        console.log(JSON.stringify(runJsonSchema(), null, 2))
        return
      }
      const { config, explained } = await readRun(runArguments(command.args, flags))
      if (!flags.explain) return console.log(JSON.stringify(config, null, 2))
      console.log(
        table(
          explained.map(({ key, origin, value, meaning }) => [
            `${key}: ${value}`,
            `${origin}${meaning && `; ${meaning}`}`,
          ]),
        ),
      )
    })
}
