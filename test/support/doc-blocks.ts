/** Code blocks of Markdown pages, and what becomes of the command lines in them when a test runs them. */
import { readFileSync } from 'node:fs'
import { type Command, CommanderError } from 'commander'
import { program } from '../../lib/cli/main.js'

export interface Block {
  language: string
  text: string
  /** Of its first line, from 1. */
  line: number
}

/** The fenced blocks of a page, in order. */
export function blocksOf(file: string): Block[] {
  const blocks: Block[] = []
  let open: Block | null = null
  for (const [i, line] of readFileSync(file, 'utf8').split('\n').entries()) {
    const fence = /^```(\S*)/.exec(line)
    if (!fence) {
      if (open) open.text += `${line}\n`
    } else if (open) {
      blocks.push(open)
      open = null
    } else open = { language: fence[1], text: '', line: i + 2 }
  }
  return blocks
}

/** Command lines of a `console` block: what follows `$ `, without the comment behind it. */
export const commandsOf = ({ text }: Block): string[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('$ '))
    .map((line) =>
      line
        .slice(2)
        .replace(/\s+#\s.*$/, '')
        .trim(),
    )

/** The words of a command line without variables and the like, as a shell gives them to the command. */
export const words = (line: string): string[] =>
  [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) => double ?? single ?? bare)

function silence(command: Command): void {
  command.action(() => {})
  for (const child of command.commands) silence(child)
}

/** What the command line has against these words, without doing what they say; null where that is nothing. */
export async function parseProblem(args: readonly string[]): Promise<string | null> {
  const star = program()
  silence(star)
  try {
    await star.parseAsync(['node', 'star', ...args])
    return null
  } catch (error) {
    return error instanceof CommanderError && error.exitCode === 0 ? null : (error as Error).message
  }
}
