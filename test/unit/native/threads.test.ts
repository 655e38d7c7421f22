/** The threads of the CPU ops: how many there are, that all ops share them, and that those who wait sleep. */
import { execFile, execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import type { ThreadReport } from '../../support/thread-report.js'

const script = fileURLToPath(new URL('../../support/thread-report.js', import.meta.url))

async function run(variables: Record<string, string>): Promise<ThreadReport> {
  const { OMP_NUM_THREADS, STAR_THREADS, ...others } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, [script], { env: { ...others, ...variables } })
  return JSON.parse(stdout)
}

t.test('one team for products, convolutions and our own loops, in each thread that calls ops', async (t) => {
  const report = await run({ STAR_THREADS: '3' })
  t.equal(report.count, 3)
  t.equal(report.helpers, 2)
  t.equal(report.after - report.before, 2, 'nobody else starts threads')
  t.equal(report.helpersWithWorker, 4)
  t.equal(report.helpersAfterWorker, 2, 'helpers of a worker thread end with it')
  t.same(report.added, [], 'no variable is left in the environment')
})

t.test('threads that wait sleep', async (t) => {
  const { helperMs, pausedMs } = await run({ STAR_THREADS: '2' })
  // What libgomp's threads do by default, spinning for milliseconds, would be nearly all of it.
  t.ok(helperMs < 0.25 * pausedMs, `helpers ran ${helperMs.toFixed(0)} of ${pausedMs.toFixed(0)} ms`)
})

t.test('number of threads', async (t) => {
  t.equal((await run({ OMP_NUM_THREADS: '1' })).helpers, 0)
  t.equal((await run({ OMP_NUM_THREADS: '2,4' })).count, 2, 'the first of a list')
  t.equal((await run({ OMP_NUM_THREADS: '1', STAR_THREADS: '2' })).count, 2, 'STAR_THREADS comes first')
  const all = (await run({})).count
  t.ok(all >= 1)
  t.equal((await run({ OMP_NUM_THREADS: 'many' })).count, all, 'what is no number is not for us')
})

t.test('oneDNN calls no other entry of OpenMP than ours', async (t) => {
  const addon = join(packageRoot, 'build', 'star.node')
  const maps = readFileSync('/proc/self/maps', 'utf8')
  const library = maps.match(/\S*libdnnl\.so\S*/)?.[0]
  if (!library) {
    t.pass('oneDNN is linked into the addon, so a missing entry is an error of the linker')
    return
  }
  const symbols = (file: string, which: string): string[] =>
    execFileSync('nm', ['-D', which, file], { encoding: 'utf8' })
      .split('\n')
      .map((line) => line.trim().split(/\s+/).at(-1)!.replace(/@.*/, ''))
      .filter((name) => /^(GOMP|GOACC|omp|__kmpc|kmpc)_/.test(name))
  const wanted = symbols(library, '--undefined-only')
  t.ok(wanted.includes('GOMP_parallel'))
  const ours = new Set(symbols(addon, '--defined-only'))
  t.same(
    wanted.filter((name) => !ours.has(name)),
    [],
  )
})
