/** scripts/sampling-sweep as it is run, on the shipped model: figures are those of `star evaluate`, and a sweep goes on. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writePack } from '../../lib/data/index.js'
import { refused } from '../support/refusal.js'
import { runScript } from '../support/run-script.js'
import { star } from '../support/star-command.js'
import { numberedEntry } from '../support/tiny-images.js'

const model = 'emoji-64'
const root = t.testdir()
const pack = join(root, 'pack')
const out = join(root, 'sweep')

interface Sweep {
  records: { cfg: number; topK: number; topP: number; retrieval: object; inStyle: object | null; diversity: number }[]
}
const written = (): Sweep => JSON.parse(readFileSync(`${out}.json`, 'utf8'))
const sweep = (...args: string[]) =>
  runScript('sampling-sweep', [model, pack, out, '--count', '3', '--seed', '7', ...args])

t.before(async () => {
  const names = ['a red heart', 'a green apple', 'a strawberry', 'a yellow circle', 'a grinning cat']
  const entries = names.flatMap((name, i) =>
    ['flat icon', '3D'].map((style, j) =>
      numberedEntry(2000 * i + 900 * j, {
        prompt: `${name}, ${style}`,
        style,
        concept: name,
        split: 'train',
        width: 64,
        height: 64,
      }),
    ),
  )
  await writePack(pack, entries)
})

t.test('the figures of a combination are those of star evaluate', async (t) => {
  const { code, stdout, stderr } = await sweep('--cfg', '0,3', '--top-k', '20', '--top-p', '0.5')
  t.equal(code, 0, stderr)
  const { records } = written()
  t.strictSame(
    records.map(({ cfg, topK, topP }) => [cfg, topK, topP]),
    [
      [0, 20, 0.5],
      [3, 20, 0.5],
    ],
  )
  const folder = join(root, 'evaluation')
  const settings = ['--cfg', '3', '--top-k', '20', '--top-p', '0.5', '--count', '3', '--seed', '7']
  const evaluated = await star(['evaluate', model, '--data', pack, '--out', folder, '--device', 'cpu', ...settings])
  t.equal(evaluated.code, 0, evaluated.stderr)
  const { captions, diversity } = JSON.parse(readFileSync(join(folder, 'evaluation.json'), 'utf8'))
  t.strictSame(records[1].retrieval, captions.retrieval)
  t.strictSame(records[1].inStyle, captions.inStyle)
  t.equal(records[1].diversity, diversity.pixels)
  t.not(records[0].diversity, records[1].diversity, 'guidance matters')
  t.equal(stdout, `${readFileSync(`${out}.md`, 'utf8')}\n`)
  t.match(stdout, /\| 3 \| 20 \| 0\.5 \| \d+\.\d % \| .* \| 0\.\d{4} \|\n/)
})

t.test('the same command adds what is missing and measures nothing twice', async (t) => {
  const before = written()
  before.records[0].diversity = 0.125
  writeFileSync(`${out}.json`, JSON.stringify(before))
  const { code, stderr } = await sweep('--cfg', '0,2,3', '--top-k', '20', '--top-p', '0.5')
  t.equal(code, 0, stderr)
  const { records } = written()
  t.strictSame(records.slice(0, 2), before.records)
  t.strictSame(
    records.map(({ cfg }) => cfg),
    [0, 3, 2],
  )
})

t.test('mistakes are told in one line', async (t) => {
  refused(
    t,
    await runScript('sampling-sweep', [model, pack]),
    /usage: node dist\/scripts\/sampling-sweep\.js MODEL PACK OUT/,
  )
  refused(t, await sweep('--count', '2'), /another model, pack, count or seed: name another file/)
  refused(t, await sweep('--top-p', '0.5,2'), /topP.* 2.*1/)
  refused(t, await sweep('--temperature', '1'), /--temperature/)
})
