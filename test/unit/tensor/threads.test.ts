import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const script = fileURLToPath(new URL('../../support/op-hashes.js', import.meta.url))

t.test('results are bit for bit the same with any number of threads', async (t) => {
  const run = async (threads: string): Promise<Record<string, string>> => {
    const { stdout } = await promisify(execFile)(process.execPath, [script], {
      env: { ...process.env, STAR_THREADS: threads },
    })
    return JSON.parse(stdout)
  }
  const one = await run('1')
  t.ok(Object.keys(one).length >= 20)
  for (const threads of ['2', '3']) {
    const several = await run(threads)
    for (const [op, hash] of Object.entries(one)) t.equal(several[op], hash, `${op} with ${threads} threads`)
  }
})
