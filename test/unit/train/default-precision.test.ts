/** What a run computes in where its configuration does not say so. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { trainingTime } from '../../../lib/cli/plan-time.js'
import { precisionOn } from '../../../lib/train/config/precision.js'
import type { TransformerRunConfig } from '../../../lib/train/kinds/transformer/config.js'
import { readRunConfig } from '../../../lib/train/run-config.js'
import { runSteps, tinyTokenizerRun, writeTinyPack } from '../../support/tiny-run.js'

t.test('a GPU is given bf16, the CPU f32, and each what is asked for', async (t) => {
  t.equal(precisionOn(undefined, 'cpu'), 'f32')
  t.equal(precisionOn(undefined, 'cuda'), 'bf16')
  for (const device of ['cpu', 'cuda']) t.equal(precisionOn('f16', device), 'f16')
})

t.test('a step on a GPU multiplies in bf16', async (t) => {
  const { config } = readRunConfig('configs/config_d16_256.json')
  const run = config as TransformerRunConfig
  t.equal(run.precision, 'f32', 'a published file without fp16 says f32')
  const types = async (precision: TransformerRunConfig['precision']): Promise<string[]> =>
    (await trainingTime({ ...run, precision }, 8, 'h100')).costliest.map(([name]) => name.split(' ')[1])
  t.strictSame(await types(undefined), ['bf16', 'bf16', 'bf16'])
  t.strictSame(await types('f32'), ['f32', 'f32', 'f32'])
})

t.test('a run folder names what its run computes in', async (t) => {
  const folder = t.testdir()
  const { precision: _, ...run } = tinyTokenizerRun(join(folder, 'run'), await writeTinyPack(folder), 1) as Record<
    string,
    unknown
  >
  await runSteps(run)
  t.equal(JSON.parse(readFileSync(join(folder, 'run', 'config.json'), 'utf8')).precision, 'f32')
})
