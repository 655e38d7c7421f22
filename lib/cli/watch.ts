/** `star watch` and `star report`: the curves and pictures of runs, live in a browser or as one file. */
import type { Command } from 'commander'
import { writeFileAtomic } from '../native/files.js'
import { interruptible } from './interrupt.js'
import { addListenOptions, type ListenFlags, listenOptions } from './listen-options.js'

export function addWatchCommands(star: Command): void {
  const watch = star
    .command('watch')
    .description('show the losses, schedules and sample pictures of runs in a browser, as they come')
    .argument('<runs...>', 'run folders; several are drawn over each other')
  addListenOptions(watch, 6161)
    .addHelpText(
      'after',
      `
Examples:
  $ star watch runs/emoji-64
  $ star watch runs/first runs/second --port 8000
  $ STAR_API_KEY=… star watch runs/emoji-64 --host 0.0.0.0   # other machines, who give the key as password`,
    )
    .action(async (folders: string[], options: ListenFlags) => {
      const { openRuns, serveRuns } = await import('../server/index.js')
      const runs = openRuns(folders)
      await interruptible(async (signal) => {
        const server = await serveRuns(runs, {
          ...listenOptions(options),
          log: (line) => console.error(`star watch: ${line}`),
        })
        console.log(`${server.address} shows ${runs.map(({ name }) => name).join(', ')}; Ctrl-C ends`)
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
        await server.close()
      })
    })
  star
    .command('report')
    .description('write what "star watch" shows as one HTML file')
    .argument('<runs...>', 'run folders; several are drawn over each other')
    .option('-o, --out <file>', 'the file', 'report.html')
    .addHelpText(
      'after',
      `
The file holds the last sets of sample pictures and needs nothing beside it.

Example:
  $ star report runs/emoji-64 --out emoji.html`,
    )
    .action(async (folders: string[], { out }: { out: string }) => {
      const { openRuns, report } = await import('../server/index.js')
      writeFileAtomic(out, Buffer.from(report(openRuns(folders))))
      console.log(out)
    })
}
