// bench/gpu/run without a GPU: all of its parts on simt with tiny sizes. A fault in one part is told and does not end the others, and
// a later call does what is left and no more. Its times mean nothing.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'

// Every fourth native test, at least one of each suite: whether they pass is for native-tests.test.ts, which runs them all.
const someTests = { GTEST_TOTAL_SHARDS: '4', GTEST_SHARD_INDEX: '0' }

interface Outcome {
  state: string
  reason?: string
  result?: Record<string, unknown>
}

/** Exit status and what was told part by part. */
function call(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; told: string }> {
  return new Promise((settle, fail) => {
    const program = join(packageRoot, 'bench', 'gpu', 'run')
    const child = spawn(program, args, {
      env: { ...process.env, ...someTests, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let told = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      told += text
    })
    child.once('error', fail)
    child.once('close', (code) => settle({ code, told }))
  })
}

t.test('all parts run, a fault is told, and a later call does the rest', async (t) => {
  const folder = t.testdir()
  const args = ['--device', 'simt', '--out', folder]
  const results = () =>
    Object.entries(
      (JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8')) as { parts: Record<string, Outcome> }).parts,
    )
  const rows = () =>
    readFileSync(join(folder, 'results.md'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('| '))
      .map((line) => line.split('|').map((cell) => cell.trim()))

  const first = await call(args, { STAR_GOLDEN: join(folder, 'nowhere'), STAR_BENCH_PYTHON: 'no-python' })
  t.equal(first.code, 1, 'it says that not all is done')
  const broken = results().filter(([, { state }]) => state === 'failed')
  t.ok(broken.length >= 3, 'parts without their files fail')
  for (const [name, { reason }] of broken) {
    t.match(name, /^golden cases: /)
    t.match(rows().find((row) => row[1] === name)?.[2], /\*\*failed\*\*: \S/, `${name}: ${reason}`)
  }
  t.strictSame(
    results()
      .filter(([, { state }]) => state === 'left out')
      .map(([name]) => name),
    ['kernels in PyTorch'],
  )
  const done = results().filter(([, { state }]) => state === 'done')
  const tests = done.filter(([name]) => name.startsWith('native tests: '))
  t.ok(
    tests.some(([name]) => name === 'native tests: Int8'),
    '8 bits are among the native tests',
  )
  for (const [name, { result }] of tests) t.ok((result?.passed as number) > 0, name)
  const timed = done.filter(([name]) => /^(picture|training step)/.test(name))
  t.equal(timed.length, 6)
  for (const [name, { result }] of timed) {
    t.ok((result?.ms as number) > 0 && (result?.peakBytes as number) > 0, name)
    const cells = rows().find((row) => row[1] === name)!
    t.match(cells.slice(2, 6), [/^done$/, /^[\d.]+$/, /^[\d.]+$/, /^[\d.]+$/], 'the time on paper stands beside it')
    const parts = (timing: Record<string, unknown>) => (timing.parts as { part: string }[]).map(({ part }) => part)
    t.strictSame(parts(result!), parts(Object.fromEntries(done)[`on paper: ${name}`].result!), 'part by part')
  }
  const kernels = Object.fromEntries(done).kernels.result as { cases: unknown[] }
  t.ok(kernels.cases.length > 25)

  const second = await call(args, { STAR_BENCH_PYTHON: 'no-python' })
  const told = [...second.told.matchAll(/^\w+: (.+?): (done|failed|left out)/gm)].map(([, name, state]) => [
    name,
    state,
  ])
  t.strictSame(
    told.filter(([name]) => name !== 'kernels in PyTorch'),
    broken.map(([name]) => [name, 'done']),
    'what failed is done, and nothing else',
  )
})

t.test('results of another device or card are not mixed', async (t) => {
  const folder = t.testdir({ 'results.json': JSON.stringify({ device: 'cuda', card: 'h100', gpu: null, parts: {} }) })
  const { code, told } = await call(['--device', 'simt', '--out', folder, 'paper'])
  t.equal(code, 2)
  t.match(told, /holds results of --device cuda --card h100, not simt and h200: name another folder by --out/)
})
