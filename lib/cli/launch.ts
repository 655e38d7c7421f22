/** `star launch`: run a program as several processes, on one machine or on many. */
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { StarError } from '../native/error.js'
import { interrupted } from './interrupt.js'

const starFile = fileURLToPath(new URL('../../../bin/star.js', import.meta.url))

/** What each worker runs: a command of star, or a JavaScript program. */
function workerCommand(star: Command, [name, ...args]: readonly string[]): string[] {
  if (['.js', '.mjs', '.cjs'].includes(extname(name))) return [process.execPath, ...process.execArgv, name, ...args]
  const known = star.commands.map((command) => command.name()).filter((command) => /^(train|evaluate)/.test(command))
  if (known.includes(name)) return [process.execPath, ...process.execArgv, starFile, name, ...args]
  throw new StarError(
    'ERR_ARGUMENT',
    `"${name}" cannot be launched: give one of ${known.join(', ')} with its arguments, or a JavaScript file`,
  )
}

export function addLaunchCommand(star: Command): void {
  star
    .command('launch')
    .description('run a program as several processes on one or many machines (the flags are those of torchrun)')
    .argument(
      '<command...>',
      'train, train-tokenizer, train-sampler or evaluate with its arguments, or a JavaScript file',
    )
    .option('--nnodes <n>', 'machines: N, or MIN:MAX to continue with fewer')
    .option('--nproc-per-node <n>', 'processes on this machine: a number, gpu, cpu or auto')
    .option('--node-rank <n>', 'place of this machine, from 0 (the one of --master-addr)')
    .option('--master-addr <address>', 'address of the first machine')
    .option('--master-port <port>', 'a free port there (29500)')
    .option('--standalone', 'this machine alone')
    .option('--max-restarts <n>', 'how often all workers start again after a failure, from the last checkpoint (0)')
    .option('--monitor-interval <seconds>', 'time between signs of life of the machines (5)')
    .option('--log-dir <folder>', 'write a log file per rank')
    .option(
      '-r, --redirects <streams>',
      '0 none, 1 stdout, 2 stderr, 3 both, or 0:3,1:2 by local rank: to the file only',
    )
    .option('-t, --tee <streams>', 'the same: to the file, and to the console with the rank in front')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
Each worker finds RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR and MASTER_PORT in its environment,
and OMP_NUM_THREADS=1 where several share a machine and it is not set. A flag that is missing is read from the variable
PET_NNODES, PET_NPROC_PER_NODE and so on. SIGINT and SIGTERM are handed on; workers that do not end within 30 s are ended.

A training's processes share each batch; after a failure all resume from the last checkpoint (with --max-restarts).

Examples:
  $ star launch --nproc-per-node 8 --max-restarts 3 train configs/config_d16_256.json
  $ star launch --nproc-per-node 4 --tee 3 program.mjs
  $ star launch --nnodes 2 --node-rank 0 --master-addr host-a --nproc-per-node 8 program.mjs`,
    )
    .action(async (words: string[], flags: Record<string, string | boolean | undefined>) => {
      const { launch, launchOptions } = await import('../distributed/launcher/index.js')
      const { usableGpus } = await import('../native/devices.js')
      const options = launchOptions(flags, { env: process.env, gpus: usableGpus })
      await interrupted(() =>
        launch(workerCommand(star, words), options, { log: (line) => console.error(`star launch: ${line}`) }),
      )
    })
}
