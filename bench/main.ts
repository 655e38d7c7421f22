/**
 * `npm run bench [-- --json --case REGEXP --rounds N --threads N]`: our CPU backend against PyTorch 2, side by side.
 *
 * Both sides run the same cases with the same weights, inputs and number of threads, in turns and in alternating order,
 * after their outputs were compared. ratio = peer_ms / ours_ms, of medians: above 1 we are faster. `--json` prints one object
 * a case: { case, ours_ms, peer_ms, ratio }. The case `trainer.loop` has no peer: it compares the training loop with the bare
 * step, { case, bare_ms, loop_ms, lost }, lost being (loop_ms − bare_ms)/bare_ms of the medians.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { StarError } from '../lib/native/index.js'
import { scope } from '../lib/tensor/index.js'
import { readSafetensors } from '../lib/weights/index.js'
import { type BenchCase, benchCases } from './cases.js'
import { LoopBench } from './loop.js'
import { type Outputs, openCase, time } from './ours.js'
import { benchPython, Peer } from './peer.js'

/** Largest ‖ours − peer‖/‖peer‖ of each output. Tokens must be equal. */
const tolerances: Record<string, number> = {
  logits: 2e-5,
  states: 2e-5,
  image: 1e-4,
  loss: 1e-5,
  gradient_norm: 1e-5,
  second_loss: 1e-4,
}

interface Settings {
  json: boolean
  cases: readonly BenchCase[]
  rounds: number
  threads: number
  /** Whether the training loop is measured. */
  loop: boolean
}

const loopCase = 'trainer.loop'

interface Measured {
  case: string
  ours_ms: number
  peer_ms: number
  ratio: number
}

function settings(): Settings {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      case: { type: 'string', default: '.' },
      rounds: { type: 'string', default: '7' },
      threads: { type: 'string', default: String(process.env.OMP_NUM_THREADS ?? availableParallelism()) },
    },
  })
  const [rounds, threads] = [Number(values.rounds), Number(values.threads)]
  const asked = new RegExp(values.case)
  const cases = benchCases.filter((c) => asked.test(c.name))
  const loop = asked.test(loopCase)
  if (!(rounds >= 1) || !(threads >= 1))
    throw new StarError('ERR_ARGUMENT', `bench: rounds ${values.rounds}, threads ${values.threads}, expected 1 or more`)
  if (cases.length === 0 && !loop)
    throw new StarError(
      'ERR_ARGUMENT',
      `bench: no case matches "${values.case}"; there are ${[...benchCases.map((c) => c.name), loopCase].join(', ')}`,
    )
  return { json: values.json, cases, rounds, threads, loop }
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function difference(ours: ArrayLike<number>, peer: ArrayLike<number>): number {
  if (ours.length !== peer.length) return Number.POSITIVE_INFINITY
  let [error, norm] = [0, 0]
  for (let i = 0; i < peer.length; i++) {
    error += (ours[i] - peer[i]) ** 2
    norm += peer[i] ** 2
  }
  return Math.sqrt(error / norm)
}

/** Worst difference between the sides by output. @throws ERR_INTERNAL when they don't agree: then there is nothing to time */
function compare(name: string, ours: Outputs, file: string): string {
  return scope(() => {
    const { tensors } = readSafetensors(file)
    return Object.entries(ours)
      .map(([key, value]) => {
        const error = difference(value, tensors.get(key)!.data())
        if (!(error <= (tolerances[key] ?? 0)))
          throw new StarError('ERR_INTERNAL', `bench: ${name}: ${key} differs by ${error} from the peer's`)
        return `${key} ${error.toExponential(1)}`
      })
      .join(', ')
  })
}

async function measure(bench: BenchCase, peer: Peer, rounds: number, log: (line: string) => void): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'star-bench-'))
  const ours = openCase(bench)
  try {
    await peer.open(bench)
    const file = join(folder, 'peer.safetensors')
    await peer.check(file)
    log(`${bench.name}: sides agree (${compare(bench.name, await ours.check(), file)})`)
    const times: { ours: number[]; peer: number[] } = { ours: [], peer: [] }
    // Round −1 warms up and is not counted.
    for (let round = -1; round < rounds; round++) {
      const order = round % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const)
      for (const side of order) {
        const ms = await (side === 'ours' ? time(ours) : peer.time())
        if (round >= 0) times[side].push(ms)
      }
    }
    const [ours_ms, peer_ms] = [median(times.ours), median(times.peer)]
    return { case: bench.name, ours_ms, peer_ms, ratio: peer_ms / ours_ms }
  } finally {
    ours.dispose()
    rmSync(folder, { recursive: true })
    await peer.close()
  }
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

async function main(): Promise<void> {
  const { json, cases, rounds, threads, loop } = settings()
  if (process.env.OMP_NUM_THREADS !== String(threads)) {
    // The addon, and PyTorch's OpenMP, read it when they are loaded, so it must stand in the environment of a new process.
    const env = { ...process.env, OMP_NUM_THREADS: String(threads) }
    process.exitCode = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: 'inherit' }).status ?? 1
    return
  }
  if (loop) await measureLoop(json, rounds)
  if (cases.length === 0) return
  const log = (line: string): void => console.error(line)
  const { peer, versions } = await Peer.start(benchPython(), threads)
  log(`peer: PyTorch ${versions.torch}; ${threads} threads each; medians of ${rounds} rounds`)
  try {
    for (const bench of cases) {
      const result = await measure(bench, peer, rounds, log)
      if (json) console.log(JSON.stringify(result))
      else
        console.log(
          `${result.case.padEnd(18)} ours ${result.ours_ms.toFixed(1)} ms, PyTorch ${result.peer_ms.toFixed(1)} ms, ` +
            `ratio ${result.ratio.toFixed(2)}`,
        )
    }
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
