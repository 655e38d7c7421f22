import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { packageRoot } from '../../lib/native/index.js'

const script = join(packageRoot, 'dist', 'test', 'support', 'run-golden-sampling.js')
const cases = ['plain.per-sample', 'old.first-sample']

async function digests(threads: number): Promise<string> {
  const env = { ...process.env, STAR_THREADS: String(threads) }
  return (await promisify(execFile)(process.execPath, [script, ...cases], { env })).stdout
}

t.test('one thread and two draw the same tokens and the same f̂, bit for bit', async (t) => {
  const one = await digests(1)
  t.equal(one.trim().split('\n').length, cases.length)
  t.equal(await digests(2), one)
})
