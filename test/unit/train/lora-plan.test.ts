/** What a LoRA's training takes, before it starts: memory against steps that were taken, and time on paper. */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { openLora } from '../../../lib/models/lora/index.js'
import { type StarConfigInput, starConfig } from '../../../lib/models/star/index.js'
import { tokenizerSchema } from '../../../lib/models/tokenizer/index.js'
import { resolveOptimizer } from '../../../lib/train/config/resolve.js'
import { loraRunSchema } from '../../../lib/train/kinds/lora/config.js'
import { baseOfRun, planLoraRun } from '../../../lib/train/kinds/lora/plan.js'
import { rehearseLoraStep } from '../../../lib/train/lora-rehearsal.js'
import { readRunConfig } from '../../../lib/train/run-config.js'
import { writeTinyLora } from '../../support/tiny-lora.js'
import { writeTinyModel } from '../../support/tiny-model.js'
import { tinyLoraRun } from '../../support/tiny-run.js'

const star = (...args: string[]) =>
  promisify(execFile)(process.execPath, ['bin/star.js', ...args], { encoding: 'utf8' })

t.test('memory within 15 % of what a step takes', async (t) => {
  const patchNums = [1, 2, 3, 4, 6, 8]
  const sizes = { depth: 3, width: 128, heads: 4, patchNums, vocabSize: 512, latentChannels: 32, textWidth: 96 }
  for (const [options, keys, optimizer] of [
    [{}, {}, {}],
    [{}, { prior: { prompts: ['a cat'] } }, {}],
    [{ width: 256 }, { precision: 'bf16', rank: 32 }, {}],
    [{ vocabSize: 2048 }, {}, {}],
    [{ width: 256 }, { baseDtype: 'int8' }, {}],
    [{ width: 256 }, { baseDtype: 'int8', precision: 'bf16' }, {}],
    [{ depth: 8 }, { recompute: true, prior: { prompts: ['a cat'] } }, {}],
    [{}, { targets: ['attention'] }, { accumulate: 2, ema: 0.9 }],
  ] as [Partial<StarConfigInput>, object, object][]) {
    const config = starConfig({ ...sizes, ...options })
    const tokenizer = tokenizerSchema.parse({
      ...{
        baseChannels: 32,
        channelMultipliers: [1, 1],
        residualBlocks: 1,
        patchNums,
        vocabSize: config.vocabSize,
        latentChannels: 32,
      },
    })
    const given = tinyLoraRun('run', 'pack', 'base', 10)
    const run = loraRunSchema.parse({
      ...given,
      ...keys,
      optimizer: { ...(given.optimizer as object), batchSize: 16, ema: 0, ...optimizer },
    })
    const resolved = resolveOptimizer(run.optimizer, null)
    const { peakBytes } = await rehearseLoraStep({ run, config, optimizer: resolved, tokenizer }, { device: 'cpu' })
    const base = { config, tokenizer, tokenizerBytes: 0 }
    // Prompts are taken to have 77 tokens in both.
    const { peak } = planLoraRun({ ...run, data: { ...run.data, resolution: 16 } }, base)
    const name = JSON.stringify([options, keys, optimizer])
    t.ok(Math.abs(peak / peakBytes - 1) <= 0.15, `${name}: ${Math.round(peak)} planned, ${peakBytes} measured`)
  }
})

t.test('sizes come from the base, and the LoRA has as many numbers as planned', async (t) => {
  const folder = t.testdir()
  writeTinyModel(join(folder, 'model'))
  writeTinyLora(join(folder, 'lora'), join(folder, 'model'))
  const run = loraRunSchema.parse({ ...tinyLoraRun('run', 'pack', join(folder, 'model'), 10), rank: 2 })
  const base = baseOfRun(run)
  t.equal(base.config.width, 32)
  const plan = planLoraRun({ ...run, data: { ...run.data, resolution: 8 } }, base)
  t.equal(new Map(plan.parts).get('AdamW moments'), 8 * openLora(join(folder, 'lora')).parameters)
  // Of pictures of several shapes the one with most tokens counts: 1 + 12 + 48 of 16×12, not 1 + 4 + 16 of 8×8.
  const shaped = planLoraRun(
    {
      ...run,
      data: {
        ...run.data,
        resolution: 8,
        buckets: [
          [8, 8],
          [16, 12],
        ],
      },
    },
    base,
  )
  const logits = ({ parts }: typeof plan): number => new Map(parts).get('logits and inputs')!
  // 40 more in each of four samples: 2·(V + C) numbers of logits and features, Z and C of inputs.
  t.equal(logits(shaped) - logits(plan), 4 * 40 * (4 * (2 * 32 + 2 * 32) + 4 * 8 + 4 * 32))
  t.throws(() => baseOfRun({ ...run, base: join(folder, 'none') }), { code: 'ERR_FILE' })
})

t.test('star plan tells memory and time of a LoRA, and refuses what does not fit', async (t) => {
  const file = 'configs/emoji-64-lora.json'
  const { stdout } = await star('plan', file, '--json')
  const { parts, peak } = JSON.parse(stdout) as { parts: Record<string, number>; peak: number }
  const { config } = readRunConfig(file)
  if (config.kind !== 'lora') throw new Error('it is no LoRA')
  t.equal(peak, planLoraRun(config, baseOfRun(config)).peak)
  t.ok(parts['AdamW moments'] < 0.2 * parts.weights, JSON.stringify(parts))
  await t.rejects(star('plan', file, '--memory', '20MB'), {
    code: 2,
    stderr: /^error: this takes .* and the device has 0\.02 GB .*cut the batch into more micro-batches/,
  })
  const timed = await star('plan', file, '--time', 'h100', '--json')
  const { parts: steps, seconds } = JSON.parse(timed.stdout) as { parts: { part: string }[]; seconds: number }
  t.same(
    steps.map(({ part }) => part),
    ['data', 'forward', 'backward', 'optimizer'],
  )
  t.ok(seconds > 0)
  const folder = t.testdir()
  mkdirSync(folder, { recursive: true })
  const wrong = join(folder, 'run.json')
  writeFileSync(wrong, JSON.stringify({ ...(readRunConfig(file).config as object), base: 'nowhere' }))
  await t.rejects(star('plan', wrong), { code: 2, stderr: /there is no model, folder or file "nowhere"/ })
})
