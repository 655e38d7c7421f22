/** The real TensorBoard reads what a run records. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { tensorboardScalars } from '../../../lib/train/run-folder/tags.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

/** A Python with TensorBoard: $STAR_TENSORBOARD_PYTHON, or the one that scripts/tensorboard-venv makes. */
const python = [
  process.env.STAR_TENSORBOARD_PYTHON ?? '',
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'star-t2i/tensorboard-venv/bin/python'),
].find((path) => path !== '' && spawnSync(path, ['-c', 'import tensorboard']).status === 0)
const skip = python === undefined && 'no Python with TensorBoard: scripts/tensorboard-venv makes one'

interface Answer {
  /** By tag: [step, value] */
  scalars: Record<string, [number, number][]>
  /** By tag: [step, width, height, SHA-256] */
  images: Record<string, [number, number, number, string][]>
}

t.test('every scalar and picture of a run', { skip }, async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 4))
  const runFolder = join(folder, 'run')
  const config = {
    ...tinyTransformerRun(runFolder, pack, join(folder, 'tokenizer', 'model'), 6),
    work: { logEvery: 1, saveEvery: 2, picturesEvery: 3, prompts: ['a red square', 'a blue circle: "round"'] },
  }
  // Stopped and gone on with: a second event file.
  await runSteps(config, 4)
  await runSteps(config)
  const script = join(packageRoot, 'test/support/tensorboard-peer.py')
  const { scalars, images } = JSON.parse(
    execFileSync(python!, ['-B', script, runFolder], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ) as Answer

  const expected: Answer['scalars'] = {}
  const sides = [2, 4, 8, 16]
  for (const line of readFileSync(join(runFolder, 'metrics.jsonl'), 'utf8').trim().split('\n')) {
    const { step, ...values } = JSON.parse(line) as Record<string, number>
    for (const [tag, value] of Object.entries(tensorboardScalars(values, sides))) {
      expected[tag] ??= []
      expected[tag].push([step, Math.fround(value)])
    }
  }
  t.ok(Object.keys(expected).length > 15)
  t.strictSame(scalars, expected)

  const pictures: Answer['images'] = {}
  for (const set of readdirSync(join(runFolder, 'val_imgs')).sort((a, b) => stepOf(a) - stepOf(b)))
    for (const file of readdirSync(join(runFolder, 'val_imgs', set)))
      if (!file.endsWith('.scales.png')) {
        const bytes = readFileSync(join(runFolder, 'val_imgs', set, file))
        const tag = `val_imgs/${file.replace(/\.png$/, '')}`
        pictures[tag] ??= []
        pictures[tag].push([stepOf(set), 16, 16, createHash('sha256').update(bytes).digest('hex')])
      }
  t.strictSame(images, pictures)
  t.strictSame(
    Object.values(images).map((list) => list.map(([step]) => step)),
    [
      [3, 6],
      [3, 6],
    ],
  )
})

const stepOf = (set: string): number => Number(/_iter(\d+)$/.exec(set)?.[1])
