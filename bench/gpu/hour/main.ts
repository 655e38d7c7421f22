/** bench/gpu/run: the first hour on a GPU, in stages of at most five minutes, of which a later call does what is left. */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import { devices } from '../../../lib/native/devices.js'
import { packageRoot } from '../../../lib/native/index.js'
import { type CardName, cards } from '../../../lib/plan/index.js'
import { type Part, partsOf, type Stage, stages } from './parts.js'
import { type Outcome, type Results, readResults, writeResults } from './results.js'
import { table } from './table.js'

/** Of a stage, whatever is left of it then: the next call takes it up. */
const stageSeconds = 300

interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  late: boolean
  stdout: string
  stderr: string
}

/** Runs a program with what it starts; ends all of them after `seconds`. */
function runProgram({ command: [program, ...args], env }: Part, seconds: number): Promise<Ended> {
  return new Promise((settle, fail) => {
    const child = spawn(program, args, {
      cwd: packageRoot,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let late = false
    const texts = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        texts[name] += text
      })
    const timer = setTimeout(() => {
      late = true
      process.kill(-child.pid!, 'SIGKILL')
    }, 1000 * seconds)
    child.once('error', (error) => {
      clearTimeout(timer)
      fail(error)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      settle({ code, signal, late, ...texts })
    })
  })
}

/** The line of a program's output that says most: the last one of an error, else the last one. */
function reasonOf({ stdout, stderr }: Ended): string {
  const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '')
  const told = lines.filter((line) => /error|ERR_|usage|must/i.test(line) && !/^\s+at /.test(line))
  return (told.at(-1) ?? lines.at(-1) ?? 'it said nothing').trim().slice(0, 300)
}

async function outcomeOf(part: Part, seconds: number): Promise<Outcome> {
  const begin = performance.now()
  const spent = () => Math.round((performance.now() - begin) / 100) / 10
  if (part.missing) return { state: 'left out', reason: part.missing, seconds: 0 }
  try {
    const ended = await runProgram(part, seconds)
    const failed = (reason: string): Outcome => ({ state: 'failed', reason, seconds: spent() })
    if (ended.late) return failed(`not done after ${Math.round(seconds)} s, and ended`)
    if (ended.signal) return failed(`crashed with ${ended.signal}: ${reasonOf(ended)}`)
    if (ended.code !== 0 && !(ended.code === 1 && part.mayExitWith1))
      return failed(`exit ${ended.code}: ${reasonOf(ended)}`)
    const result = part.read(ended.stdout)
    if ('failed' in result && Array.isArray(result.failed) && result.failed.length > 0)
      return { ...failed(result.failed.join(', ')), result }
    if (ended.code !== 0) return failed(`exit ${ended.code}: ${reasonOf(ended)}`)
    return { state: 'done', seconds: spent(), result }
  } catch (error) {
    return { state: 'failed', reason: (error as Error).message, seconds: spent() }
  }
}

/** What was not tried yet comes before what failed, so that one fault does not take the time of all calls. */
const order = (parts: readonly Part[], results: Results): Part[] => {
  const open = parts.filter(({ name }) => results.parts[name]?.state !== 'done')
  return [...open.filter(({ name }) => !results.parts[name]), ...open.filter(({ name }) => results.parts[name])]
}

interface Flags {
  device: 'cuda' | 'simt'
  card: CardName
  out: string
}

async function main(chosen: readonly Stage[], { device, card, out }: Flags): Promise<void> {
  const folder = resolve(out)
  mkdirSync(folder, { recursive: true })
  const results = readResults(folder, device, card)
  const parts = partsOf(device, card, folder)
  const save = () => writeResults(folder, results, table(parts, results))
  if (device === 'simt') results.gpu = 'none: the kernels ran on the CPU, on tiny sizes, and times mean nothing'
  else if (chosen.some((stage) => stage !== 'paper')) {
    const gpu = devices().find(({ name }) => name === 'cuda')!
    if (!gpu.available) throw new Error(`the GPU cannot be used: ${gpu.detail}`)
    results.gpu = gpu.detail
  }
  save()
  for (const stage of stages.filter((name) => chosen.includes(name))) {
    const end = performance.now() + 1000 * stageSeconds
    for (const part of order(
      parts.filter((each) => each.stage === stage),
      results,
    )) {
      const left = (end - performance.now()) / 1000
      if (left < 1) {
        console.error(`${stage}: ${stageSeconds} s are over; call it again for what is left`)
        break
      }
      // What stands there while it runs is what is known if the whole machine is taken away.
      results.parts[part.name] = { state: 'failed', reason: 'begun, and not ended', seconds: 0 }
      save()
      const outcome = await outcomeOf(part, Math.min(part.limit, left))
      results.parts[part.name] = outcome
      save()
      const { state, reason, seconds } = outcome
      console.error(`${stage}: ${part.name}: ${state}${reason ? ` (${reason})` : ''}, ${seconds} s`)
    }
  }
  console.log(join(folder, 'results.md'))
  if (parts.some(({ name, stage }) => chosen.includes(stage) && results.parts[name]?.state !== 'done'))
    process.exitCode = 1
}

await new Command('bench/gpu/run')
  .description('tests and times everything on a GPU; stages are paper, checks and times, default all of them')
  .argument('[stages...]', 'which stages', (stage: string, before: Stage[] = []) => {
    if (!stages.includes(stage as Stage))
      throw new Error(`stage "${stage}" is unknown, expected one of ${stages.join(', ')}`)
    return [...before, stage as Stage]
  })
  .addOption(
    new Option('--device <name>', 'simt: without a GPU, on tiny sizes').choices(['cuda', 'simt']).default('cuda'),
  )
  .addOption(
    new Option('--card <name>', 'whose expected times are compared').choices(Object.keys(cards)).default('h200'),
  )
  .option('--out <folder>', 'of results.json and results.md', 'out/gpu')
  .action((given: Stage[], flags: Flags) => main(given.length > 0 ? given : stages, flags))
  .parseAsync()
  .catch((error: Error) => {
    console.error(`bench/gpu/run: ${error.message}`)
    process.exitCode = 2
  })
