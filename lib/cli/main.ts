/** The command `star`. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { followLauncher } from '../distributed/launcher/worker-guard.js'
import { StarError } from '../native/error.js'
import { addAgainCommand } from './again.js'
import { addAttentionCommand } from './attention.js'
import { addCheckpointCommands } from './ckpt.js'
import { addConfigCommand } from './config.js'
import { addConvertCommand } from './convert.js'
import { addDataCommand } from './data.js'
import { addEditCommands } from './edit.js'
import { addEvaluateCommand } from './evaluate.js'
import { addInfoCommand } from './info.js'
import { addInitCommand } from './init.js'
import { exitOnInterrupt, Interrupted } from './interrupt.js'
import { addLaunchCommand } from './launch.js'
import { addLoraCommands } from './lora.js'
import { addMorphCommand } from './morph.js'
import { addPackCommand } from './pack.js'
import { addPlanCommand } from './plan.js'
import { addSampleCommand } from './sample.js'
import { addServeCommand } from './serve.js'
import { addTrainCommands } from './train.js'
import { addWatchCommands } from './watch.js'

/** Exit codes: 0 done, 1 a fault of the program, 2 a mistake in what was asked or a problem of the system, 130 Ctrl-C. */
export const exitCodes = { done: 0, fault: 1, mistake: 2, interrupted: 130 } as const

function version(): string {
  const file = new URL('../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

export function program(): Command {
  const star = new Command('star')
    .description('Text-to-image with STAR, the scale-wise transformer: draw pictures of prompts, train models.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .showSuggestionAfterError()
    // What follows the command that "launch" runs belongs to that command.
    .enablePositionalOptions()
    .addHelpText(
      'after',
      `
Examples:
  $ star sample "a red apple" --out apple.png
  $ star info emoji-64
  $ star serve
  $ star init my-run --data my-pictures
  $ star train configs/emoji-64.json

Exit code: 0 done, 1 a fault of the program, 2 a mistake in what was asked, 130 stopped with Ctrl-C.
Set STAR_THREADS to the number of threads, STAR_DEBUG=1 to see where an error comes from.`,
    )
  addSampleCommand(star)
  addAgainCommand(star)
  addEditCommands(star)
  addMorphCommand(star)
  addAttentionCommand(star)
  addInfoCommand(star)
  addInitCommand(star)
  addServeCommand(star)
  addTrainCommands(star)
  addEvaluateCommand(star)
  addConfigCommand(star)
  addPlanCommand(star)
  addLaunchCommand(star)
  addCheckpointCommands(star)
  addWatchCommands(star)
  addDataCommand(star)
  addPackCommand(star)
  addConvertCommand(star)
  addLoraCommands(star)
  for (const command of [star, ...star.commands, ...star.commands.flatMap((child) => child.commands)])
    command.exitOverride().configureOutput({ writeErr: () => {} })
  return star
}

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ').trim()

/** Prints an error as the command line shows it and gives the exit code that goes with it. */
export function report(error: unknown, print: (line: string) => void = (line) => console.error(line)): number {
  const debug = Boolean(process.env.STAR_DEBUG)
  if (error instanceof Interrupted) {
    print(oneLine(error.message))
    return exitCodes.interrupted
  }
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.done
    const message = oneLine(error.message).replace(/^error: /, '')
    print(
      message === '(outputHelp)'
        ? 'error: no command was given; "star --help" lists them'
        : `error: ${message}; see "star --help"`,
    )
    return exitCodes.mistake
  }
  const known = error instanceof StarError && error.code !== 'ERR_INTERNAL'
  const message = error instanceof Error ? error.message : String(error)
  print(
    known
      ? `error: ${oneLine(message)}`
      : `error: unexpected: ${oneLine(message)} (STAR_DEBUG=1 shows where; please report it)`,
  )
  if (debug && error instanceof Error) {
    print(error.stack ?? message)
    if (error.cause)
      print(`cause: ${error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause)}`)
  }
  return known ? exitCodes.mistake : exitCodes.fault
}

/** Runs the command line and returns its exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  // A reader that stops early (star … | head) ends the output, not with an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCodes.done)
    throw error
  })
  followLauncher()
  exitOnInterrupt()
  try {
    await program().parseAsync(argv)
    return exitCodes.done
  } catch (error) {
    return report(error)
  }
}
