/**
 * `npm run fuzz -- --time 60 [--target NAME] [--jobs N] [--seed N] [--coverage]`: attacks every target for so many seconds with damaged inputs,
 * each in a process of its own. A crash, an error that is none of ours, a hang or too much memory is a finding: its input is kept in
 * build/fuzz/findings and the exit code is 1. Inputs that gave a new answer are kept in ~/.cache/star-t2i/fuzz for the next time.
 * --coverage says which part of each reader's lines was reached, at half the speed.
 */
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { packageRoot, StarError } from '../../lib/native/index.js'
import { clearCoverage, coverageFolder, readCoverage } from './coverage.js'
import { nativeTargets, runNative } from './native.js'
import { targets } from './targets/index.js'
import type { WorkerReport, WorkerTask } from './worker.js'

const { values } = parseArgs({
  options: {
    time: { type: 'string', default: '60' },
    target: { type: 'string', multiple: true },
    jobs: { type: 'string', default: String(availableParallelism()) },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    coverage: { type: 'boolean', default: false },
  },
})
const seconds = Number(values.time)
const all = [...targets.keys(), ...nativeTargets()]
const chosen = values.target ?? all
const unknown = chosen.find((name) => !all.includes(name))
if (!(seconds > 0) || unknown !== undefined)
  throw new StarError(
    'ERR_ARGUMENT',
    unknown === undefined
      ? `--time is ${values.time}, expected seconds`
      : `there is no target ${unknown}: ${all.join(', ')}`,
  )

/** Longest time for one input, and for the start of a target. */
const longest = 30_000
/** Findings of one target, after which it is left alone. */
const mostFindings = 5

export interface Outcome {
  inputs: number
  kinds: number
  corpus: number
  findings: string[]
}

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'star-t2i', 'fuzz')
const findings = join(packageRoot, 'build', 'fuzz', 'findings')
mkdirSync(findings, { recursive: true })

function keep(name: string, input: Buffer, why: string): string {
  const file = join(findings, `${name}-${createHash('sha256').update(input).digest('hex').slice(0, 12)}`)
  writeFileSync(`${file}.bin`, input)
  writeFileSync(`${file}.txt`, `${why}\n`)
  return `${file}.bin: ${why.split('\n', 1)[0]}`
}

/** One process of a target until its time is over or it has found something. */
function attack(task: WorkerTask): Promise<{ last: WorkerReport; why: string | null }> {
  return new Promise((resolve) => {
    const child = fork(join(import.meta.dirname, 'worker.js'), [JSON.stringify(task)], {
      execArgv: ['--max-old-space-size=1500', '--expose-gc'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: values.coverage ? { ...process.env, NODE_V8_COVERAGE: coverageFolder } : process.env,
    })
    let last: WorkerReport = { inputs: 0, kinds: 0, corpus: 0 }
    let errors = ''
    let hung = false
    let watch = setTimeout(() => {}, 0)
    const alive = (): void => {
      clearTimeout(watch)
      watch = setTimeout(() => {
        hung = true
        child.kill('SIGKILL')
      }, longest)
    }
    alive()
    child.stderr!.on('data', (text: Buffer) => {
      errors = (errors + text.toString('utf8')).slice(-20_000)
    })
    child.on('message', (message: WorkerReport) => {
      last = message
      alive()
    })
    child.on('close', (code, signal) => {
      clearTimeout(watch)
      if (last.fault) resolve({ last, why: last.fault })
      else if (hung) resolve({ last, why: `no answer for ${longest / 1000} s` })
      else if (code !== 0) resolve({ last, why: `the process ended with ${signal ?? code}\n${errors}` })
      else resolve({ last, why: null })
    })
  })
}

async function runTarget(name: string): Promise<Outcome> {
  const scratch = mkdtempSync(join(tmpdir(), `star-fuzz-${name}-`))
  const own = join(cache, name)
  mkdirSync(own, { recursive: true })
  const outcome: Outcome = { inputs: 0, kinds: 0, corpus: 0, findings: [] }
  const until = Date.now() + seconds * 1000
  try {
    for (let round = 0; outcome.findings.length < mostFindings; round++) {
      const left = (until - Date.now()) / 1000
      if (round > 0 && left < 1) break
      const corpus = [own, join(packageRoot, 'test', 'fuzz', 'seeds', name)]
      const seed = (Number(values.seed) + round * 7919) % 2 ** 32
      const { last, why } = await attack({ target: name, seconds: left, seed, corpus, scratch })
      outcome.inputs += last.inputs
      outcome.kinds = Math.max(outcome.kinds, last.kinds)
      outcome.corpus = Math.max(outcome.corpus, last.corpus)
      if (why === null) break
      const current = readFileSync(join(scratch, 'current'))
      const input = current.length < 4 ? current : current.subarray(4, 4 + current.readUInt32LE(0))
      outcome.findings.push(keep(name, input, why))
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  return outcome
}

if (values.coverage) clearCoverage()
const waiting = [...chosen]
let [inputs, found] = [0, 0]
console.log(`${chosen.length} targets, ${seconds} s each, seed ${values.seed}`)
await Promise.all(
  Array.from({ length: Math.max(1, Number(values.jobs)) }, async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const outcome = targets.has(name)
        ? await runTarget(name)
        : await runNative(name, seconds, join(cache, name), keep)
      inputs += outcome.inputs
      found += outcome.findings.length
      console.log(
        `${name.padEnd(16)} ${String(outcome.inputs).padStart(9)} inputs  ${String(outcome.kinds).padStart(5)} answers  ` +
          `${String(outcome.corpus).padStart(5)} in the corpus  ${outcome.findings.length} findings`,
      )
      for (const finding of outcome.findings) console.log(`  ${finding}`)
    }
  }),
)
console.log(`${inputs} inputs, ${found} findings`)
if (values.coverage) {
  const sources = new Set(chosen.flatMap((name) => targets.get(name)?.sources ?? []))
  for (const { file, lines, covered } of readCoverage([...sources]))
    console.log(`${file.padEnd(50)} ${((100 * covered) / lines).toFixed(1).padStart(5)} % of ${lines} lines`)
}
process.exitCode = found > 0 ? 1 : 0
