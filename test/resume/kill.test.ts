/**
 * `npm run test:resume`: a training that is killed at twenty random moments, half of them while it writes a checkpoint, and
 * started again each time ends in the same weights as one that was left alone.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Trainer } from '../../lib/train/index.js'
import { epochFault, ResumedRun } from '../support/resume.js'
import { tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../support/tiny-run.js'

const steps = 200
const kills = 20
const work = { logEvery: 1, saveEvery: 7, keep: 2, validateEvery: 50 }

t.test('killed twenty times', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  const tokenizer = join(folder, 'tokenizer')
  using trainer = await Trainer.open(tinyTokenizerRun(tokenizer, pack, 4))
  for await (const _ of trainer);
  const open = (name: string): ResumedRun => {
    const own = join(folder, name)
    mkdirSync(own)
    const config = tinyTransformerRun(join(own, 'run'), pack, join(tokenizer, 'model'), steps)
    return new ResumedRun(own, { ...config, work })
  }
  const alone = open('alone')
  const begun = performance.now()
  const outcome = await alone.run()
  t.equal(outcome.code, 0, outcome.stderr)
  const duration = performance.now() - begun

  const killed = open('killed')
  const moments: string[] = []
  for (let i = 0; i < kills; i++) {
    const random = Math.random()
    const step = Math.floor(((i + random) / kills) * (steps - 10))
    const { code } = await killed.run(
      i % 2 === 0 ? { writingAfterStep: step } : { after: Math.min(duration / 2, 300 + (random * duration) / 4) },
    )
    moments.push(`${killed.lastStep()}${code === null ? '' : ` (ended with ${code})`}`)
  }
  t.comment(`killed at steps ${moments.join(', ')}`)
  const last = await killed.run()
  t.equal(last.code, 0, last.stderr)

  t.same(killed.tensors(), alone.tensors(), 'weights, optimizer and averages, byte for byte')
  t.same(killed.metrics(), alone.metrics(), 'the same log')
  t.same(killed.samples(), alone.samples(), 'the same samples in the same order')
  t.equal(epochFault(killed.samples(), 10), null, 'no image skipped or seen twice')
})
