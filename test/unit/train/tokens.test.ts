import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Trainer, type TrainStep } from '../../../lib/train/index.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

const losses = (steps: readonly TrainStep[]): number[] => steps.map(({ loss }) => loss)

/** The tensors of a checkpoint. */
function tensors(folder: string, step: number): Buffer {
  const bytes = readFileSync(join(folder, 'checkpoints', `step-${step}.safetensors`))
  return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))
}

t.test('training on some of the tokens', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 2))
  // Scales 1 2 4 8: 85 tokens, of which 21 belong to the first three.
  const config = (name: string, steps: number, more: object): Record<string, unknown> => ({
    ...tinyTransformerRun(join(folder, name), pack, join(folder, 'tokenizer', 'model'), steps),
    ...more,
  })

  await t.test('token drop that keeps all is no token drop', async (t) => {
    const plain = await runSteps(config('plain', 3, {}))
    const all = await runSteps(config('all', 3, { tokenDrop: { fromScale: 3, keep: 85 } }))
    t.same(losses(all), losses(plain))
    t.equal(all[0].metrics.tokens, 85)
    t.equal(plain[0].metrics.tokens, undefined)
    t.ok(tensors(join(folder, 'all'), 3).equals(tensors(join(folder, 'plain'), 3)))
  })

  for (const [name, more] of [
    ['token drop', { tokenDrop: { fromScale: 2, keep: 40 } }],
    ['progressive training', { progressive: { share: 0.75, firstScale: 1, warmupSteps: 3 } }],
    [
      'both together',
      { tokenDrop: { fromScale: 2, keep: 15 }, progressive: { share: 0.5, firstScale: 1, warmupSteps: 0 } },
    ],
  ] as const) {
    await t.test(`${name} goes on where it was`, async (t) => {
      const steps = 8
      const first = await runSteps(config('parts', steps, more), 3)
      const rest = await runSteps(config('parts', steps, more))
      const whole = await runSteps(config('whole', steps, more))
      t.same(losses(whole), losses([...first, ...rest]))
      t.ok(tensors(join(folder, 'parts'), steps).equals(tensors(join(folder, 'whole'), steps)))
      for (const each of ['parts', 'whole']) await rm(join(folder, each), { recursive: true })
    })
  }

  await t.test('a step says how many tokens it keeps, and validation sees all of them', async (t) => {
    const steps = await runSteps(config('drop', 3, { tokenDrop: { fromScale: 2, keep: 40 } }))
    t.strictSame(
      steps.map(({ metrics }) => metrics.tokens),
      [40, 40, 40],
    )
    t.not(steps[0].loss, steps[1].loss)
    t.type(steps[0].metrics.Lt, 'number')
    t.type(steps[2].metrics['val/L4'], 'number')
  })

  await t.test('a step of progressive training says which scales it trains, and measures those alone', async (t) => {
    // Warm-up ends at step 2, all scales are trained from step 9 on.
    const more = { progressive: { share: 0.75, firstScale: 1, warmupSteps: 3 } }
    const steps = await runSteps(config('progressive', 12, more))
    t.strictSame(
      steps.map(({ metrics }) => metrics.scales),
      [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4],
    )
    const [first, second, full] = [steps[0].metrics, steps[4].metrics, steps[11].metrics]
    t.strictSame([first.L2 !== undefined, first.L3, first.Lt], [true, undefined, undefined])
    t.strictSame([second.L3 !== undefined, second.L4, second.newScaleWeight], [true, undefined, 1 / 3])
    t.ok(full.L4 !== undefined && full.Lt === full.L4)
    // The loss is the sum over the tokens of the first scales, each a part of all 85.
    const expected = (first.L1 + 4 * first.L2) / 85
    t.ok(Math.abs(first.loss - expected) < 1e-5, `${first.loss}, expected ${expected}`)
    const weighted = (second.L1 + 4 * second.L2 + (16 * second.L3) / 3) / 85
    t.ok(Math.abs(second.loss - weighted) < 1e-5, `${second.loss}, expected ${weighted}`)
    // Ten pictures in batches of four: 1.2 epochs are three steps.
    const inEpochs = await runSteps(
      config('epochs', 12, { progressive: { share: 0.75, firstScale: 1, warmupEpochs: 1.2 } }),
    )
    t.same(losses(inEpochs), losses(steps))
  })

  await t.test('tokens and scales that the model does not have are refused', async (t) => {
    const refused = (more: object, message: RegExp) =>
      t.rejects(Trainer.open(config('wrong', 3, more)), { code: 'ERR_CONFIG', message })
    await refused({ tokenDrop: { fromScale: 4, keep: 50 } }, /tokenDrop.fromScale is 4, expected at most 3/)
    await refused({ tokenDrop: { fromScale: 3, keep: 20 } }, /tokenDrop.keep is 20, expected from 21.* to 85/)
    await refused({ tokenDrop: { fromScale: 3, keep: 86 } }, /tokenDrop.keep is 86/)
    await refused({ progressive: { share: 0.5, firstScale: 4 } }, /progressive.firstScale is 4/)
    await refused(
      { progressive: { share: 0.5, warmupSteps: 1, warmupEpochs: 1 } },
      /"progressive": warmupSteps \(1\) and/,
    )
    await refused({ progressive: { share: 1.5 } }, /progressive.share/)
  })
})
