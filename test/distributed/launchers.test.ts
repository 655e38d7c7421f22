/** A training of two processes under the launchers that people run, and under ours with a worker that is killed. */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import { listCheckpoints } from '../../lib/train/checkpoint/checkpointer.js'
import { trainedWeights } from '../support/rank-training.js'
import type { Owner } from '../support/ranks.js'
import { slurmMissing, startSlurm } from '../support/slurm.js'
import { starFile } from '../support/star-command.js'
import { tinyTokenizerRun, writeTinyPack } from '../support/tiny-run.js'

const run = promisify(execFile)
const folder = t.testdir()
const pack = await writeTinyPack(folder)

/** Writes the configuration of a run and gives the command that trains it. */
function training(name: string, steps: number, changes: object = {}): { runFolder: string; command: string[] } {
  const runFolder = join(folder, name)
  const file = join(folder, `${name}.json`)
  writeFileSync(file, JSON.stringify({ ...tinyTokenizerRun(runFolder, pack, steps), ...changes }))
  return { runFolder, command: ['train-tokenizer', file, '--device', 'cpu'] }
}

/** A program of PATH, or of the Python environment that the benchmarks use; null where there is none. */
function find(program: string): string | null {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  const folders = [...(process.env.PATH ?? '').split(delimiter), join(cache, 'star-t2i', 'bench-venv', 'bin')]
  return folders.map((place) => join(place, program)).find((path) => existsSync(path)) ?? null
}

const launchers: {
  name: string
  args: string[]
  missing?: false | string
  /** Starts what the launcher talks to, and gives the variables by which it finds it. */
  start?: (owner: Owner) => Promise<Record<string, string>>
}[] = [
  { name: 'torchrun', args: ['--no-python', '--standalone', '--nproc-per-node', '2'] },
  { name: 'mpirun', args: ['--allow-run-as-root', '--oversubscribe', '-n', '2'] },
  { name: 'srun', args: ['-n', '2'], missing: slurmMissing(), start: startSlurm },
]

for (const { name, args, missing = false, start } of launchers) {
  const program = find(name)
  const skip = program ? missing : `${name} is not installed (scripts/launchers installs it)`
  t.test(`${name} runs two processes to their end`, { skip }, async (t) => {
    const env = { ...process.env, ...(await start?.(t)) }
    const { runFolder, command } = training(name, 3)
    await run(program!, [...args, process.execPath, starFile, ...command], { env, timeout: 120_000 })
    t.match(JSON.parse(readFileSync(join(runFolder, 'run.json'), 'utf8')), { processes: 2 })
    t.equal(listCheckpoints(runFolder)[0].step, 3)
    t.ok(existsSync(join(runFolder, 'model', 'model.json')))
  })
}

/** Processes whose command line holds the text. */
function processesOf(text: string): number[] {
  const { stdout } = spawnSync('pgrep', ['-f', text], { encoding: 'utf8' })
  return stdout.trim().split('\n').filter(Boolean).map(Number)
}

t.test(
  'a worker is killed: star launch starts all again, and the weights are those of a run that was left alone',
  async (t) => {
    const work = { logEvery: 1, saveEvery: 3, picturesEvery: 0 }
    const launch = ['launch', '--nproc-per-node', '2']
    const alone = training('left-alone', 12, { work })
    await run(process.execPath, [starFile, ...launch, ...alone.command], { timeout: 120_000 })
    const killed = training('killed', 12, { work })
    const launched = run(process.execPath, [starFile, ...launch, '--max-restarts', '2', ...killed.command], {
      timeout: 180_000,
    })
    // A whole checkpoint, so that there is something to go on from.
    const until = Date.now() + 120_000
    while (!existsSync(join(killed.runFolder, 'checkpoints')) || listCheckpoints(killed.runFolder).length === 0) {
      if (Date.now() > until) throw new Error('no checkpoint within two minutes')
      await delay(20)
    }
    // The launcher's own command line holds the same words; a worker's begins with the command.
    const workers = processesOf(`star.js train-tokenizer ${join(folder, 'killed.json')}`)
    t.ok(workers.length >= 2, 'the workers run')
    process.kill(workers[workers.length - 1], 'SIGKILL')
    const { stderr } = await launched
    t.match(stderr, /signal SIGKILL/)
    t.match(readFileSync(join(killed.runFolder, 'log.txt'), 'utf8'), /resumed from step/)
    const [a, b] = [trainedWeights(alone.runFolder), trainedWeights(killed.runFolder)]
    t.strictSame([...b.keys()], [...a.keys()])
    for (const [name, values] of a) t.ok(Buffer.from(values.buffer).equals(Buffer.from(b.get(name)!.buffer)), name)
    t.strictSame(processesOf(join(folder, 'killed.json')), [], 'no process is left')
  },
)
