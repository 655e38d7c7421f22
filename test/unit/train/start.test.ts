import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { describeModel } from '../../../lib/cli/info.js'
import { modelInfo } from '../../../lib/engine/model-info.js'
import { cast, noGrad, scope, type Tensor } from '../../../lib/tensor/index.js'
import { Trainer } from '../../../lib/train/index.js'
import { readSafetensors } from '../../../lib/weights/index.js'
import { writeTree } from '../../support/released.js'
import {
  runSteps,
  tinySamplerRun,
  tinyTokenizerRun,
  tinyTransformerRun,
  writeTinyPack,
} from '../../support/tiny-run.js'

interface Saved {
  values: Map<string, Float32Array>
  shapes: Map<string, readonly number[]>
  optimizerStep: number
}

function saved(file: string): Saved {
  return scope(() => {
    const { tensors, metadata } = readSafetensors(file)
    return {
      values: new Map([...tensors].map(([name, tensor]) => [name, tensor.floats()])),
      shapes: new Map([...tensors].map(([name, tensor]) => [name, tensor.shape])),
      optimizerStep: JSON.parse(metadata.optimizer).step,
    }
  })
}

/** What a run holds before its first step. */
async function beginning(config: object): Promise<Saved> {
  using trainer = await Trainer.open(config)
  return saved(await trainer.save())
}

t.test('starting from trained weights', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(folder)
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 2))
  const width = 64
  const coarse = [1, 2, 8] // 69 tokens
  const fine = [1, 2, 4, 8] // 85 tokens
  let runs = 0
  /** A run in a folder of its own. */
  const config = (patchNums: readonly number[], model: object, more: object = {}): { runFolder: string } => {
    const all = tinyTransformerRun(join(folder, `run-${runs++}`), pack, join(folder, 'tokenizer', 'model'), 4)
    return { ...all, ...more, patchNums, model: { ...(all.model as object), ...model } } as unknown as {
      runFolder: string
    }
  }
  const logOf = ({ runFolder }: { runFolder: string }): string => readFileSync(join(runFolder, 'log.txt'), 'utf8')
  const checkpointOf = ({ runFolder }: { runFolder: string }): string =>
    join(runFolder, 'checkpoints', 'step-4.safetensors')

  const first = config(coarse, {})
  await runSteps(first)
  const from = saved(checkpointOf(first))

  for (const [name, model] of [
    ['rotated positions', {}],
    ['learnt positions', { rope: false }],
    ['shared AdaLN', { sharedAdaLN: true }],
  ] as const)
    await t.test(`${name}: rows that exist are copied, new ones are first values`, async (t) => {
      const source = name === 'rotated positions' ? first : config(coarse, model)
      if (source !== first) await runSteps(source)
      const from = saved(checkpointOf(source))
      const start = { weights: checkpointOf(source), optimizer: 'keep' }
      const second = config(fine, model, { seed: 9, start })
      const grown = await beginning(second)

      const same = [...grown.values.keys()].filter(
        (key) => grown.shapes.get(key)?.join() === from.shapes.get(key)?.join(),
      )
      for (const key of same)
        if (!key.startsWith('ema.')) t.strictSame(grown.values.get(key), from.values.get(key), key)
      // What rows that are drawn would be without a source; rows that are repeated are not drawn.
      const fresh = 'sharedAdaLN' in model ? null : await beginning(config(fine, model, { seed: 9 }))
      const other = [...grown.values.keys()].filter((key) => !same.includes(key) && key.startsWith('model.'))
      t.strictSame(other, [...('rope' in model ? ['model.pos_1LC'] : []), 'model.lvl_embed.weight'])
      for (const key of other) {
        const [old, now] = [from.values.get(key)!, grown.values.get(key)!]
        t.strictSame(now.subarray(0, old.length), old, `${key}: rows that exist`)
        const rest = now.subarray(old.length)
        t.equal(rest.length, key === 'model.pos_1LC' ? 16 * width : width)
        if (!fresh) t.strictSame(rest, old.subarray(old.length - width), 'the last row, repeated')
        else t.strictSame(rest, fresh.values.get(key)!.subarray(old.length), `${key}: drawn with the run's seed`)
        const moments = key.replace('model.', 'optimizer.')
        for (const moment of [`${moments}.exp_avg`, `${moments}.exp_avg_sq`]) {
          t.strictSame(grown.values.get(moment)!.subarray(0, old.length), from.values.get(moment))
          t.ok(
            grown.values
              .get(moment)!
              .subarray(old.length)
              .every((v) => v === 0),
          )
        }
        t.strictSame(grown.values.get(key.replace('model.', 'ema.')), now, 'the average begins with the weights')
      }
      t.equal(grown.optimizerStep, 4)
      const rows = 'rope' in model ? /pos_1LC by 16 rows, lvl_embed.weight by 1 rows/ : /lvl_embed.weight by 1 rows/
      t.match(logOf(second), rows)
      t.match(logOf(second), /started from .*step-4.safetensors, optimizer kept/)
      t.equal((await runSteps(second)).length, 4)
    })

  await t.test('a run that was interrupted does not take the weights again', async (t) => {
    const start = { weights: join(folder, 'for-a-while.safetensors') }
    const source = config(coarse, {}, { start: { weights: checkpointOf(first) } })
    await runSteps(source)
    const { copyFileSync } = await import('node:fs')
    copyFileSync(checkpointOf(source), start.weights)
    const whole = await runSteps(config(fine, {}, { start }))
    const parts = config(fine, {}, { start })
    const before = await runSteps(parts, 2)
    rmSync(start.weights)
    const after = await runSteps(parts)
    t.same(
      [...before, ...after].map(({ loss }) => loss),
      whole.map(({ loss }) => loss),
    )
    t.equal(logOf(parts).match(/started from/g)?.length, 1)
    const model = join(parts.runFolder, 'model')
    t.equal(modelInfo(model).startedFrom, start.weights)
    t.match(describeModel(modelInfo(model)), /started from +\S*for-a-while/)
    t.equal(modelInfo(join(first.runFolder, 'model')).startedFrom, null)
  })

  await t.test('a model folder and a published checkpoint without its tokenizer do as well', async (t) => {
    const model = join(first.runFolder, 'model')
    const exported = await beginning(config(fine, {}, { start: { weights: model } }))
    const { tensors } = readSafetensors(join(model, 'transformer.safetensors'))
    const weight = 'blocks.0.attn.mat_qkv.weight'
    const half = noGrad(() => cast(tensors.get(weight) as Tensor, 'f32'))
    t.strictSame(exported.values.get(`model.${weight}`), half.floats())
    half.dispose()
    t.equal(exported.optimizerStep, 0)
    t.ok(
      exported.values.get(`optimizer.${weight}.exp_avg`)?.every((v) => v === 0),
      'the optimizer begins anew',
    )

    const file = join(folder, 'ar-ckpt-last.pth')
    const whole = readSafetensors(checkpointOf(first)).tensors
    const state = Object.fromEntries(
      [...whole].flatMap(([key, v]) => (key.startsWith('model.') ? [[key.slice(6), v]] : [])),
    )
    writeTree(file, { epoch: 3, trainer: { var_wo_ddp: state } })
    const published = config(fine, {}, { start: { weights: file } })
    const begun = await beginning(published)
    t.strictSame(begun.values.get(`model.${weight}`), from.values.get(`model.${weight}`))
    t.match(logOf(published), /crossAttention first-sample there, per-sample here/)
    for (const each of [...tensors.values(), ...whole.values()]) each.dispose()

    for (const weights of [model, file])
      await t.rejects(beginning(config(fine, {}, { start: { weights, optimizer: 'keep' } })), {
        code: 'ERR_CONFIG',
        message: /"keep", but .* holds no optimizer state/,
      })
  })

  await t.test('other differences are refused, name by name', async (t) => {
    const refused = (given: object, message: RegExp, code = 'ERR_SHAPE') =>
      t.rejects(beginning(given), { code, message })
    const weights = checkpointOf(first)
    await refused(
      config(fine, { width: 32 }, { start: { weights } }),
      /start.weights.*of another shape: pos_start is \(1, 1, 64\)/,
    )
    await refused(config(fine, { depth: 3 }, { start: { weights } }), /missing: blocks\.2\.attn/)
    await refused(config(fine, { sharedAdaLN: true }, { start: { weights } }), /missing: lvl_embed_proj/)
    await refused(
      config([1, 8], {}, { start: { weights } }),
      /1 of another shape: lvl_embed.weight is \(3, 64\), expected \(2, 64\)/,
    )
    await refused(
      config(fine, {}, { start: { weights: join(folder, 'tokenizer', 'checkpoints', 'step-2.safetensors') } }),
      /holds no weights of a transformer/,
      'ERR_FILE',
    )
    await refused(config(fine, {}, { start: { weights: join(folder, 'nothing') } }), /nothing/, 'ERR_FILE')
    await refused(config(fine, {}, { start: { weights, optimizer: 'drop' } }), /start.optimizer/, 'ERR_CONFIG')
  })

  await t.test('a sampler head grows with its base', async (t) => {
    const base = config(fine, {})
    await runSteps(base)
    const head = (of: { runFolder: string }, name: string, more: object = {}) =>
      ({ ...tinySamplerRun(join(folder, name), pack, join(of.runFolder, 'model'), 4), ...more }) as {
        runFolder: string
      } & object
    const coarseHead = head(first, 'coarse-head')
    await runSteps(coarseHead)
    const start = { weights: checkpointOf(coarseHead), optimizer: 'keep' }
    const begun = await beginning(head(base, 'fine-head', { start }))
    const old = saved(checkpointOf(coarseHead)).values
    t.strictSame(
      begun.values.get('model.lvl_embed_2.weight')?.subarray(0, 3 * width),
      old.get('model.lvl_embed_2.weight'),
    )
    t.strictSame(begun.values.get('model.head_proj.weight'), old.get('model.head_proj.weight'))
    t.equal(begun.shapes.get('model.lvl_embed_2.weight')?.[0], 4)
    const again = await beginning(head(base, 'again', { start: { weights: join(coarseHead.runFolder, 'model') } }))
    t.ok(
      again.values.get('model.head_proj.weight')?.some((v, i) => v !== begun.values.get('model.head_proj.weight')![i]),
    )
  })
})
