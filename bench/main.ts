/**
 * `npm run bench [-- --case REGEXP --ours f32,bf16,int8 --peer f32,f32-compiled,bf16,bf16-compiled --rounds N --threads N --json]`:
 * our CPU backend against PyTorch 2, side by side.
 *
 * Both sides run the same cases with the same weights, inputs and number of threads: ours in each precision, PyTorch op by op and
 * compiled, in f32 and under autocast to bf16. All of a case take turns, in alternating order, after their outputs were compared with
 * PyTorch's in f32. At the end comes one table: ratio = PyTorch's time / ours, of medians, above 1 we are faster, against its
 * fastest mode of the same precision or a higher one; `best` is the fastest of ours against the fastest of PyTorch. All that is
 * compared lies in memory at once: --ours and --peer leave out what does not fit. `--json` prints a row as an object
 * a line (bench/table.ts). The case `trainer.loop` has no peer: it compares the training loop with the bare step,
 * { case, bare_ms, loop_ms, lost }, lost being (loop_ms − bare_ms)/bare_ms of the medians. `optimizer.muon` has none either: it
 * compares a training step with Muon with one with AdamW, { case, gradients_ms, adamw_ms, muon_ms, step_ratio } of processor time.
 */
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { StarError } from '../lib/native/index.js'
import { toldDifferences } from './agreement.js'
import {
  type BenchCase,
  benchCases,
  type PeerMode,
  type Precision,
  peerModes,
  precisions,
  precisionsOf,
} from './cases.js'
import { LoopBench } from './loop.js'
import { measure } from './measure.js'
import { OptimizerBench } from './optimizer.js'
import { median } from './overlap.js'
import { benchPython, Peer } from './peer.js'
import { type Row, rowsOf, tableOf } from './table.js'

interface Settings {
  json: boolean
  cases: readonly BenchCase[]
  ours: readonly Precision[]
  modes: readonly PeerMode[]
  rounds: number
  threads: number
  /** Whether the training loop is measured. */
  loop: boolean
  /** Whether Muon is. */
  optimizer: boolean
}

const loopCase = 'trainer.loop'
const optimizerCase = 'optimizer.muon'

/** A list of names with commas. @throws ERR_ARGUMENT for an unknown one */
function namesOf<T extends string>(flag: string, given: string, known: readonly T[]): T[] {
  const names = given.split(',')
  const strange = names.find((name) => !known.some((one) => one === name))
  if (strange !== undefined)
    throw new StarError('ERR_ARGUMENT', `bench: --${flag} has "${strange}", expected some of ${known.join(',')}`)
  return known.filter((name) => names.includes(name))
}

function settings(): Settings {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      case: { type: 'string', default: '.' },
      ours: { type: 'string', default: precisions.join() },
      peer: { type: 'string', default: peerModes.join() },
      rounds: { type: 'string', default: '7' },
      threads: { type: 'string', default: String(process.env.OMP_NUM_THREADS ?? availableParallelism()) },
    },
  })
  const [rounds, threads] = [Number(values.rounds), Number(values.threads)]
  const asked = new RegExp(values.case)
  const cases = benchCases.filter((c) => asked.test(c.name))
  const loop = asked.test(loopCase)
  const optimizer = asked.test(optimizerCase)
  if (!(rounds >= 1) || !(threads >= 1))
    throw new StarError('ERR_ARGUMENT', `bench: rounds ${values.rounds}, threads ${values.threads}, expected 1 or more`)
  if (cases.length === 0 && !loop && !optimizer)
    throw new StarError(
      'ERR_ARGUMENT',
      `bench: no case matches "${values.case}"; there are ${[...benchCases.map((c) => c.name), loopCase, optimizerCase].join(', ')}`,
    )
  const ours = namesOf('ours', values.ours, precisions)
  const modes = namesOf('peer', values.peer, peerModes)
  return { json: values.json, cases, ours, modes, rounds, threads, loop, optimizer }
}

/** Steps are short beside noise: many rounds, of which the first two are not counted. */
async function measureLoop(json: boolean, rounds: number): Promise<void> {
  const bench = await LoopBench.open()
  try {
    const times: { bare: number[]; loop: number[] } = { bare: [], loop: [] }
    for (let round = -2; round < 3 * rounds; round++) {
      const { bare_ms, loop_ms } = await bench.time(round % 2 === 0)
      if (round < 0) continue
      times.bare.push(bare_ms)
      times.loop.push(loop_ms)
    }
    const [bare_ms, loop_ms] = [median(times.bare), median(times.loop)]
    const lost = loop_ms / bare_ms - 1
    if (json) console.log(JSON.stringify({ case: loopCase, bare_ms, loop_ms, lost }))
    else
      console.log(
        `${loopCase.padEnd(18)} bare step ${bare_ms.toFixed(1)} ms, with the loop ${loop_ms.toFixed(1)} ms, lost ${(100 * lost).toFixed(1)} %`,
      )
  } finally {
    bench.dispose()
  }
}

function measureOptimizer(json: boolean, rounds: number): void {
  const bench = new OptimizerBench()
  try {
    bench.time()
    const times = Array.from({ length: rounds }, () => bench.time())
    const [gradients_ms, adamw_ms, muon_ms] = (['gradients_ms', 'adamw_ms', 'muon_ms'] as const).map((key) =>
      median(times.map((one) => one[key])),
    )
    const step_ratio = (gradients_ms + muon_ms) / (gradients_ms + adamw_ms)
    if (json) console.log(JSON.stringify({ case: optimizerCase, gradients_ms, adamw_ms, muon_ms, step_ratio }))
    else
      console.log(
        `${optimizerCase.padEnd(18)} forward and backward ${gradients_ms.toFixed(0)} ms, AdamW ${adamw_ms.toFixed(0)} ms, ` +
          `Muon ${muon_ms.toFixed(0)} ms of processor time, step ${step_ratio.toFixed(2)} times as long`,
      )
  } finally {
    bench.dispose()
  }
}

async function main(): Promise<void> {
  const { json, cases, ours, modes, rounds, threads, loop, optimizer } = settings()
  if (process.env.OMP_NUM_THREADS !== String(threads)) {
    // The addon, and PyTorch's OpenMP, read it when they are loaded, so it must stand in the environment of a new process.
    const env = { ...process.env, OMP_NUM_THREADS: String(threads) }
    process.exitCode = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: 'inherit' }).status ?? 1
    return
  }
  if (loop) await measureLoop(json, rounds)
  if (optimizer) measureOptimizer(json, rounds)
  if (cases.length === 0) return
  const log = (line: string): void => console.error(line)
  const { peer, versions } = await Peer.start(benchPython(), threads)
  log(`peer: PyTorch ${versions.torch}; ${threads} threads each; medians of ${rounds} rounds`)
  const rows: Row[] = []
  try {
    for (const bench of cases) {
      const chosen = { precisions: precisionsOf(bench).filter((one) => ours.includes(one)), modes }
      if (chosen.precisions.length === 0) continue
      const found = rowsOf(await measure(bench, chosen, peer, rounds, log))
      for (const row of found) {
        rows.push(row)
        if (json) console.log(JSON.stringify(row))
        else log(`${row.case} ${row.precision}: ${row.ours_ms.toFixed(1)} ms, ratio ${row.ratio.toFixed(2)}`)
      }
    }
    if (!json) console.log(tableOf(rows, toldDifferences))
  } finally {
    peer.stop()
  }
}

try {
  await main()
} catch (error) {
  console.error(error instanceof StarError ? error.message : error)
  process.exitCode = 1
}
