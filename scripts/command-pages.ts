/** The pages of docs/commands: what `star COMMAND --help` prints, a page a command, and a list of them. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { program } from '../lib/cli/main.js'
import { makeFolder, writeFileAtomic } from '../lib/native/files.js'
import { packageRoot } from '../lib/native/index.js'

/** Columns of the help in the pages. */
const width = 110

function helpOf(command: Command): string {
  let text = ''
  const writeOut = (part: string): void => {
    text += part
  }
  command.configureOutput({ writeOut, getOutHelpWidth: () => width })
  command.outputHelp()
  return text.trimEnd()
}

const sentence = (text: string): string => `${text[0].toUpperCase()}${text.slice(1)}.`

function page(command: Command): string {
  const parts = command.commands.map(
    (part) =>
      `\n## star ${command.name()} ${part.name()}\n\n${sentence(part.description())}\n\n\`\`\`text\n${helpOf(part)}\n\`\`\`\n`,
  )
  return `# star ${command.name()}\n\n${sentence(command.description())}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\`\n${parts.join('')}`
}

/** Paths below docs/commands, with what the files hold. */
export function commandPages(): Map<string, string> {
  const { commands } = program()
  const rows = commands.map((command) => `| [${command.name()}](${command.name()}.md) | ${command.description()} |`)
  const list = `# Commands

\`node dist/scripts/command-pages.js\` writes these pages from the command line's own help. In a clone, \`node bin/star.js\` stands for
\`star\`. Exit codes: 0 done, 1 a fault of the program, 2 a mistake in what was asked or a problem of the system, 130 Ctrl-C.

| command | does |
|---|---|
${rows.join('\n')}
`
  return new Map([['README.md', list], ...commands.map((command) => [`${command.name()}.md`, page(command)] as const)])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = join(packageRoot, 'docs', 'commands')
  makeFolder(folder)
  for (const [name, text] of commandPages()) writeFileAtomic(join(folder, name), text)
}
