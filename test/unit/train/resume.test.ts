/** Three of the kills of `npm run test:resume`. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { epochFault, ResumedRun } from '../../support/resume.js'
import { tinyTokenizerRun, writeTinyPack } from '../../support/tiny-run.js'

t.test('a tokenizer run that is killed three times ends as one that was left alone', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  const open = (name: string): ResumedRun => {
    const own = join(folder, name)
    mkdirSync(own)
    const work = { logEvery: 1, saveEvery: 3, keep: 2, validateEvery: 8 }
    return new ResumedRun(own, { ...tinyTokenizerRun(join(own, 'run'), pack, 30), work })
  }
  const alone = open('alone')
  t.match(await alone.run(), { code: 0 })
  const killed = open('killed')
  for (const step of [3, 11, 20]) t.match(await killed.run({ writingAfterStep: step }), { code: null }, 'killed')
  t.match(await killed.run(), { code: 0 })
  t.same(killed.tensors(), alone.tensors(), 'all tensors')
  t.same(killed.metrics(), alone.metrics(), 'the same log')
  t.same(killed.samples(), alone.samples(), 'the same samples')
  t.equal(epochFault(killed.samples(), 10), null, 'no image skipped or seen twice')
})
