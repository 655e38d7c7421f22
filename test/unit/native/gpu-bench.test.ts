// The GPU benchmark's program on the simt backend, with tiny shapes: that every case runs and is named. Its times mean nothing.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { Kernels } from '../../../bench/gpu/hour/results.js'
import { packageRoot } from '../../../lib/native/index.js'

const run = promisify(execFile)
const program = join(packageRoot, 'build', 'star_gpu_bench_simt')

type Line = Kernels['cases'][number]

t.test('each case has a name, a time and a floor', async (t) => {
  const { stdout } = await run(program, ['--smoke', '--json'])
  const [card, ...cases] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line)) as [Record<string, unknown>, ...Line[]]
  t.match(card, { card: /\S/, copy_gb_s: Number, bf16_tflop_s: Number, f32_tflop_s: Number })
  t.equal(new Set(cases.map((line) => line.case)).size, cases.length, 'no name twice')
  for (const line of cases) {
    t.match(line, { case: /^\S.* smoke$/, op: /^[a-z0-9_]+$/, dtype: /^(f32|bf16)$/, bound: /^(memory|compute)$/ })
    t.ok(line.ms > 0 && line.floor_ms > 0 && line.percent > 0, `${line.case} has positive times`)
  }
  const peer = readFileSync(join(packageRoot, 'bench', 'gpu', 'peer.py'), 'utf8')
  const known = new Set(
    [...peer.matchAll(/^ {4}"(\w+)": /gm), ...peer.matchAll(/(?<=^NONE = .*)"(\w+)"/gm)].map(([, op]) => op),
  )
  t.strictSame(new Set(cases.map(({ op }) => op)), known, 'peer.py knows the ops that are timed, and no others')
})

t.test('the table has a line a case', async (t) => {
  const { stdout } = await run(program, ['--smoke'])
  const [card, rates, , head, ...rows] = stdout.trimEnd().split('\n')
  t.match(card, /\S/)
  t.match(rates, /^copy \d+ GB\/s, matmul bf16 [\d.]+ TFLOP\/s, f32 [\d.]+ TFLOP\/s$/)
  t.match(head, /^case +dtype +ms +floor ms +% floor +bound$/)
  t.ok(rows.length > 25)
  for (const row of rows) t.match(row, /^\S.* smoke +(f32|bf16) +[\d.]+ +[\d.]+ +[\d.]+ {2}(memory|compute)$/)
})

t.test('an unknown argument is refused', async (t) => {
  await t.rejects(run(program, ['--fast']), { code: 2, stderr: /unknown argument --fast, expected --json or --smoke/ })
})
