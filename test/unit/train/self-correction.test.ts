import { join } from 'node:path'
import t from 'tap'
import type { TrainStep } from '../../../lib/train/index.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

const losses = (steps: readonly TrainStep[]): number[] => steps.map(({ loss }) => loss)

t.test('self-correction in training', async (t) => {
  const folder = t.testdir({ data: {} })
  const pack = await writeTinyPack(join(folder, 'data'))
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 4))
  const run = (name: string, keys: object): Record<string, unknown> => ({
    ...tinyTransformerRun(join(folder, name), pack, join(folder, 'tokenizer', 'model'), 6),
    ...keys,
  })
  const plain = await runSteps(run('plain', {}))
  const whole = await runSteps(run('whole', { selfCorrection: 0.8 }))

  await t.test('changes what is trained, from the first step on', async (t) => {
    t.notSame(losses(whole)[0], losses(plain)[0])
    t.ok(losses(whole).every(Number.isFinite))
  })

  await t.test('resumes exactly, with and without what caches hold', async (t) => {
    const parts = run('parts', { selfCorrection: 0.8 })
    t.same([...losses(await runSteps(parts, 3)), ...losses(await runSteps(parts))], losses(whole))
  })

  await t.test('micro-batches make the errors that the whole batch would make', async (t) => {
    const optimizer = { ...(run('x', {}).optimizer as object), accumulate: 2 }
    const halves = await runSteps(run('halves', { selfCorrection: 0.8, optimizer }))
    t.ok(Math.abs(halves[0].loss - whole[0].loss) < 1e-5, `${halves[0].loss} and ${whole[0].loss}`)
  })

  await t.test('a part beyond 0 to 1 is refused', async (t) => {
    await t.rejects(runSteps(run('wrong', { selfCorrection: 1.5 })), { code: 'ERR_CONFIG', message: /selfCorrection/ })
  })
})
