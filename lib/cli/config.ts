/** `star config`: the resolved form of a run configuration, or the JSON Schema of all of them. */
import type { Command } from 'commander'
import { addRunOptions, readRun, runArguments } from './run-options.js'

interface ConfigFlags {
  schema?: boolean
  config?: string
  set?: string[]
}

export function addConfigCommand(star: Command): void {
  addRunOptions(star.command('config'))
    .description('print the resolved run configuration, with defaults and flags; nothing is trained')
    .option('--schema', 'print the JSON Schema of run configurations, by which editors complete and check them')
    .addHelpText(
      'after',
      `
Examples:
  $ star config configs/config_d16_256.json --bs 256
  $ star config configs/emoji-64.json --set optimizer.steps=100
  $ star config --schema`,
    )
    .action(async (_: string | undefined, flags: ConfigFlags, command: Command) => {
      if (flags.schema) {
        const { runJsonSchema } = await import('../train/json-schema.js')
        console.log(JSON.stringify(runJsonSchema(), null, 2))
      } else console.log(JSON.stringify((await readRun(runArguments(command.args, flags))).config, null, 2))
    })
}
