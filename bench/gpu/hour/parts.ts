/** The parts of bench/gpu/run, each a program of its own, so that one that crashes or hangs does not end the others. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../../lib/native/index.js'
import { type Counterparts, type Kernels, type Result, resultsFile, type Tested } from './results.js'
import { workloads } from './workloads.js'

export const stages = ['paper', 'checks', 'times'] as const
export type Stage = (typeof stages)[number]

export interface Part {
  stage: Stage
  name: string
  /** Program and arguments. */
  command: readonly string[]
  env?: Record<string, string>
  /** Seconds after which it is ended. */
  limit: number
  /** Why it cannot run here, in one line. */
  missing?: string
  /** Programs of tests exit with 1 where one fails, and have told which. */
  mayExitWith1?: boolean
  /** What it found out. Throws where its output is not what it should be. */
  read(stdout: string): Result
}

const here = (file: string): string => join(import.meta.dirname, file)
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

/** Those of native/simt itself have no part in it. A suite a process, as what breaks a device's context breaks all that comes after it in the process. */
function nativeTests(device: string, folder: string): Part[] {
  const program = join(packageRoot, device === 'simt' ? 'build' : 'build-cuda', 'star_native_tests')
  const suites = existsSync(program)
    ? lines(execFileSync(program, ['--gtest_list_tests'], { encoding: 'utf8' })).filter(
        (line) => /^\S+\.$/.test(line) && !line.startsWith('Simt'),
      )
    : []
  if (suites.length === 0)
    return [
      {
        stage: 'checks',
        name: 'native tests',
        command: [program],
        limit: 0,
        missing: `${program} is not built: ${device === 'simt' ? 'scripts/build-native-tests' : 'scripts/build-cuda star_native_tests'}`,
        read: () => ({ passed: 0, skipped: 0, failed: [] }),
      },
    ]
  return suites.map((suite) => {
    const report = join(folder, 'native-tests.json')
    return {
      stage: 'checks',
      name: `native tests: ${suite.slice(0, -1)}`,
      command: [program, `--gtest_filter=${suite}*`, '--gtest_brief=1', `--gtest_output=json:${report}`],
      limit: 120,
      mayExitWith1: true,
      read() {
        const told = JSON.parse(readFileSync(report, 'utf8')) as {
          testsuites: { testsuite: { name: string; result: string; failures?: unknown[] }[] }[]
        }
        rmSync(report)
        const tests = told.testsuites.flatMap(({ testsuite }) => testsuite)
        const failed = tests.filter(({ failures }) => failures).map(({ name }) => name)
        const skipped = tests.filter(({ result }) => result === 'SKIPPED').length
        if (tests.length === 0) throw new Error('it ran no test')
        return { passed: tests.length - failed.length - skipped, skipped, failed }
      },
    }
  })
}

/** Golden cases of what a device computes, not those of files and schedules. The first five take seconds on simt. */
export const goldens: readonly string[] = [
  ...['primitives', 'rope', 'quantizer_train', 'adamw', 'unmask'],
  ...['tokenizer', 'transformer', 'autoencoder_grads', 'sampler_head_train', 'sampling'],
]
export const goldenFile = (name: string): string => join(packageRoot, 'dist', 'test', 'goldens', `${name}.test.js`)

/** Top-level tests of a TAP stream. */
export function readTap(stdout: string): Tested {
  const failed: string[] = []
  let [passed, skipped] = [0, 0]
  for (const [, not, name, directive] of stdout.matchAll(/^(not )?ok \d+ - (.*?)(?: # (.*))?$/gm)) {
    if (/^(todo|skip)\b/i.test(directive ?? '')) skipped++
    else if (!not) passed++
    else failed.push(name)
  }
  if (!/^1\.\.\d+$/m.test(stdout)) throw new Error('its tests were not run to their end')
  return { passed, skipped, failed }
}

const goldenCases = (device: string): Part[] =>
  goldens.slice(0, device === 'simt' ? 5 : undefined).map((name) => ({
    stage: 'checks',
    name: `golden cases: ${name}`,
    command: [process.execPath, goldenFile(name)],
    env: { STAR_TEST_DEVICE: device, TAP_TIMEOUT: '120' },
    limit: 120,
    mayExitWith1: true,
    read: readTap,
  }))

const jsonLine = (stdout: string): Result => JSON.parse(stdout.trim()) as Result

/** The name of a workload's time on paper, beside whose name the measured one stands. */
export const paperOf = (name: string): string => `on paper: ${name}`

export function kernelsOf(stdout: string): Kernels {
  const [card, ...cases] = lines(stdout).map((line) => JSON.parse(line))
  return { card, cases }
}

function kernels(device: string, folder: string): Part[] {
  const program = join(packageRoot, device === 'simt' ? 'build/star_gpu_bench_simt' : 'build-cuda/star_gpu_bench')
  const python = process.env.STAR_BENCH_PYTHON ?? 'python3'
  let torch = true
  try {
    execFileSync(python, ['-c', 'import sys, torch; sys.exit(not torch.cuda.is_available())'], { stdio: 'ignore' })
  } catch {
    torch = false
  }
  return [
    {
      stage: 'times',
      name: 'kernels',
      command: [program, '--json', ...(device === 'simt' ? ['--smoke'] : [])],
      limit: 150,
      read: kernelsOf,
    },
    {
      stage: 'times',
      name: 'kernels in PyTorch',
      command: [python, join(packageRoot, 'bench', 'gpu', 'peer.py'), resultsFile(folder)],
      limit: 150,
      ...(torch
        ? {}
        : { missing: `${python} has no PyTorch that sees the GPU; STAR_BENCH_PYTHON names another Python` }),
      read: (stdout): Counterparts =>
        Object.fromEntries(
          lines(stdout)
            .map((line) => JSON.parse(line))
            .map((line) => [line.case, line.torch_ms]),
        ),
    },
  ]
}

/** All parts in the order in which they run. */
export function partsOf(device: string, card: string, folder: string): Part[] {
  const works = workloads(device === 'simt')
  const timed = (name: string, ...more: string[]) => [process.execPath, here('time.js'), device, name, ...more]
  return [
    ...works.map(
      ({ name }): Part => ({
        stage: 'paper',
        name: paperOf(name),
        command: timed(name, card),
        limit: 120,
        read: jsonLine,
      }),
    ),
    ...nativeTests(device, folder),
    ...goldenCases(device),
    ...works.map(({ name }): Part => ({ stage: 'times', name, command: timed(name), limit: 90, read: jsonLine })),
    ...kernels(device, folder),
  ]
}
