/** `star watch` and `star report`: the curves and pictures of runs, live in a browser or as one file. */
import type { Command } from 'commander'
import { writeFileAtomic } from '../native/files.js'
import { Interrupted, interruptible } from './interrupt.js'
import { wholeNumber } from './options.js'

export function addWatchCommands(star: Command): void {
  star
    .command('watch')
    .description('show the losses, schedules and sample pictures of runs in a browser, as they come')
    .argument('<runs...>', 'run folders; several are drawn over each other')
    .option('--host <address>', 'address to listen at; 0.0.0.0 lets other machines see the page', '127.0.0.1')
    .option('-p, --port <port>', 'port to listen at; 0: a free one', wholeNumber('--port', 0, 65535), 6161)
    .addHelpText(
      'after',
      `
Examples:
  $ star watch runs/emoji-64
  $ star watch runs/first runs/second --port 8000`,
    )
    .action(async (folders: string[], { host, port }: { host: string; port: number }) => {
      const { openRuns, serveRuns } = await import('../server/index.js')
      const runs = openRuns(folders)
      await interruptible(async (signal) => {
        const server = await serveRuns(runs, { host, port })
        console.log(`${server.address} shows ${runs.map(({ name }) => name).join(', ')}; Ctrl-C ends`)
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
        await server.close()
        throw new Interrupted('stopped')
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
