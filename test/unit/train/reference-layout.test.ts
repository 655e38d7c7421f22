/** Checkpoints in the layout of the reference implementation: written from runs and models, opened by PyTorch, resumed. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { findModel, loadPart } from '../../../lib/models/source.js'
import { StarTransformer } from '../../../lib/models/star/index.js'
import { packageRoot } from '../../../lib/native/index.js'
import { noGrad, Random, scope, Tensor } from '../../../lib/tensor/index.js'
import { writeReferenceLayout } from '../../../lib/train/checkpoint/reference-layout.js'
import { Trainer } from '../../../lib/train/index.js'
import {
  openWeights,
  readSafetensors,
  torchDict,
  torchStateDict,
  torchValueParts,
  writables,
  writePartsSync,
  writeSafetensors,
  writeTorch,
} from '../../../lib/weights/index.js'
import { relativeError } from '../../support/compare.js'
import {
  runSteps,
  tinySamplerRun,
  tinyTokenizerRun,
  tinyTransformerRun,
  writeTinyPack,
} from '../../support/tiny-run.js'

const context = { signal: undefined, onProgress: () => {} }
const folder = t.testdir()
const pack = await writeTinyPack(folder)
await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 2))
const tokenizer = join(folder, 'tokenizer', 'model')
let runs = 0
const transformerRun = (steps: number, more: object = {}): Record<string, unknown> & { runFolder: string } => {
  const run = tinyTransformerRun(join(folder, `run-${runs++}`), pack, tokenizer, steps)
  return { ...run, model: { depth: 2, width: 64, heads: 1 }, ...more } as unknown as Record<string, unknown> & {
    runFolder: string
  }
}

const contentOf = (file: string): { tensors: Map<string, Float32Array>; metadata: Record<string, string> } =>
  scope(() => {
    const { tensors, metadata } = readSafetensors(file)
    return { tensors: new Map([...tensors].map(([name, tensor]) => [name, tensor.floats()])), metadata }
  })
const below = (tensors: ReadonlyMap<string, Float32Array>, prefix: string): Map<string, Float32Array> =>
  new Map([...tensors].flatMap(([name, x]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), x]] : [])))

/** Stops after 5 steps of 10 (an epoch has 2.5) and writes the checkpoint in the reference's layout. */
const stopped = transformerRun(10)
await runSteps(stopped, 5)
const ours = contentOf(join(stopped.runFolder, 'checkpoints', 'step-5.safetensors'))
const reference = join(folder, 'ar-ckpt-last.pth')
await writeReferenceLayout(stopped.runFolder, reference, context)

t.test('the names and numbers of the layout', async (t) => {
  using file = openWeights(reference)
  const values = Object.fromEntries(file.values)
  t.match(values, {
    epoch: 1,
    iter: 2,
    'trainer.config.patch_nums.3': 8,
    'trainer.config.resos.0': 2,
    'trainer.config.last_prog_si': -1,
    'trainer.config.first_prog': true,
    'trainer.var_opt.optimizer.param_groups.0.wd_sc': 0,
    'trainer.var_opt.optimizer.param_groups.1.wd_sc': 1,
    'trainer.var_opt.optimizer.param_groups.1.weight_decay': 0.05,
    'args.pn': '1_2_4_8',
  })
  scope(() => {
    for (const [name, values] of below(ours.tensors, 'model.'))
      t.strictSame(file.tensor(`trainer.var_wo_ddp.${name}`).floats(), values, name)
    t.ok(file.names.includes('trainer.vae_local.quantize.embedding.weight'))
  })
})

t.test('all that load_state_dict(strict=True) of the reference asks for, in the order of its module', async (t) => {
  // Of a module its own parameters and buffers come first, then its children as they are made.
  const attention = (name: string, products: string[]): string[] =>
    ['scale_mul_1H11', 'q_bias', 'v_bias', 'zero_k_bias', ...products, 'proj.weight', 'proj.bias'].map(
      (leaf) => `${name}.${leaf}`,
    )
  const blocks = [0, 1].flatMap((i) => [
    ...attention(`blocks.${i}.attn`, ['mat_qkv.weight']),
    ...attention(`blocks.${i}.cross_attn`, ['mat_kv.weight', 'mat_q.weight']),
    ...['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'].map((leaf) => `blocks.${i}.ffn.${leaf}`),
  ])
  const ends = ['head_logits.weight', 'head_logits.bias', 'encoder_proj.weight', 'encoder_proj.bias']
  const words = ['word_embed.weight', 'word_embed.bias', 'class_emb.weight', 'lvl_embed.weight']
  using file = openWeights(reference, { key: 'trainer.var_wo_ddp' })
  t.strictSame(file.names, ['pos_start', ...words, ...blocks, ...ends])
  t.strictSame([...file.entries].find(({ name }) => name === 'class_emb.weight')?.shape, [1001, 64])
  using whole = openWeights(reference, { key: 'trainer.vae_local' })
  t.ok(whole.names.includes('quantize.ema_vocab_hit_SV'))
  // Of a transformer's parameters the embedding alone has no moments.
  const trained = file.names.filter((name) => !name.endsWith('zero_k_bias')).length
  using all = openWeights(reference)
  const stepped = all.names.filter((name) => /^trainer\.var_opt\.optimizer\.state\.\d+\.exp_avg$/.test(name)).length
  const numbers = [...all.values.keys()].filter((key) => /\.param_groups\.\d+\.params\.\d+$/.test(key)).length
  t.equal(numbers, trained)
  t.equal(stepped, trained - 1)
})

t.test('a training resumes with weights, moments and step', async (t) => {
  const run = transformerRun(10, { start: { weights: reference, optimizer: 'resume' } })
  using trainer = await Trainer.open(run)
  t.equal(trainer.step, 5)
  const taken = contentOf(await trainer.save())
  for (const prefix of ['model.', 'optimizer.']) t.strictSame(below(taken.tensors, prefix), below(ours.tensors, prefix))
  t.equal(JSON.parse(taken.metadata.optimizer).step, 5)
  t.match(
    readFileSync(join(run.runFolder, 'log.txt'), 'utf8'),
    /resumed from .*ar-ckpt-last\.pth, step 5, at the beginning of epoch 2/,
  )
  for await (const step of trainer) {
    t.equal(step.step, 6)
    t.equal(step.epoch, 1)
    break
  }
})

t.test('a sampler head stands beside its base, and its moments are found again', async (t) => {
  await runSteps(stopped)
  const head = tinySamplerRun(join(folder, 'head'), pack, join(stopped.runFolder, 'model'), 4)
  await runSteps(head, 2)
  const file = join(folder, 'ar-ckpt-head.pth')
  await writeReferenceLayout(head.runFolder as string, file, context)
  {
    // Its program makes a group of each parameter, which names no factor.
    using weights = openWeights(file)
    const group = (g: number): unknown[] =>
      ['params.0', 'params.1', 'wd_sc', 'weight_decay'].map((key) =>
        weights.values.get(`trainer.var_opt.optimizer.param_groups.${g}.${key}`),
      )
    t.strictSame(group(0), [0, undefined, undefined, 0.05])
    t.strictSame(group(7), [7, undefined, undefined, 0.05])
  }
  const resumed = tinySamplerRun(join(folder, 'head-again'), pack, join(stopped.runFolder, 'model'), 4)
  using trainer = await Trainer.open({ ...resumed, start: { weights: file, optimizer: 'resume' } })
  const before = contentOf(join(folder, 'head', 'checkpoints', 'step-2.safetensors'))
  t.strictSame(below(contentOf(await trainer.save()).tensors, 'optimizer.'), below(before.tensors, 'optimizer.'))
})

t.test('weights are taken whatever the optimizer beside them, which is refused where it fits no weights', async (t) => {
  const file = join(folder, 'other-optimizer.pth')
  scope(() => {
    using weights = openWeights(reference, { key: 'trainer.var_wo_ddp' })
    const params = torchDict({ wd_sc: 0, params: [0, 1, 2] })
    const optimizer = torchDict({ state: new Map(), param_groups: [params] })
    const trainer = torchDict({
      var_wo_ddp: torchStateDict(writables(weights.tensors())),
      var_opt: torchDict({ optimizer }),
    })
    writePartsSync(file, torchValueParts(torchDict({ trainer }), file))
  })
  using trainer = await Trainer.open(transformerRun(10, { start: { weights: file } }))
  const taken = contentOf(await trainer.save())
  t.strictSame(below(taken.tensors, 'model.'), below(ours.tensors, 'model.'))
  await t.rejects(Trainer.open(transformerRun(10, { start: { weights: file, optimizer: 'resume' } })), {
    code: 'ERR_FILE',
    message: /its optimizer has groups of 3 parameters, its weights make \d+ and \d+/,
  })
})

t.test('what cannot be resumed', async (t) => {
  const bare = join(folder, 'bare.pth')
  scope(() => {
    using weights = openWeights(reference, { key: 'trainer.var_wo_ddp' })
    writeTorch(bare, weights.tensors())
  })
  const open = (weights: string): Promise<Trainer> =>
    Trainer.open(transformerRun(10, { start: { weights, optimizer: 'resume' } }))
  await t.rejects(open(bare), { code: 'ERR_CONFIG', message: /no checkpoint of the reference implementation/ })
  await t.rejects(open(join(stopped.runFolder, 'checkpoints', 'step-10.safetensors')), { code: 'ERR_CONFIG' })
  await t.rejects(writeReferenceLayout(join(folder, 'tokenizer'), join(folder, 'x.pth'), context), {
    code: 'ERR_FILE',
    message: /kind "tokenizer"/,
  })
})

/** A Python with PyTorch: $STAR_BENCH_PYTHON, or the one that scripts/bench-venv makes. */
const python = [
  process.env.STAR_BENCH_PYTHON ?? '',
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'star-t2i/bench-venv/bin/python'),
].find((path) => path !== '' && spawnSync(path, ['-c', 'import torch, safetensors']).status === 0)
const skip = python === undefined && 'no Python with PyTorch: set STAR_BENCH_PYTHON, or run scripts/bench-venv'

t.test('PyTorch opens it, strictly, and computes the same logits', { skip }, async (t) => {
  const given = join(folder, 'given.safetensors')
  const output = join(folder, 'output.safetensors')
  const model = join(stopped.runFolder, 'model')
  const fromModel = join(folder, 'model.pth')
  await writeReferenceLayout(model, fromModel, context)
  for (const [file, base] of [
    [reference, reference],
    [fromModel, model],
  ]) {
    const source = findModel(base, {})
    const config = source.transformer!
    scope(() => {
      const random = new Random(9)
      const uniform = (shape: number[]): Tensor =>
        Tensor.from(
          Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => 2 * random.next() - 1),
          shape,
        )
      const tokens = config.patchNums.reduce((n, p) => n + p * p, 0)
      const input = uniform([2, tokens - 1, config.latentChannels])
      const text = { states: uniform([2, 5, config.textWidth]), pooled: uniform([2, config.textWidth]) }
      const mask = Tensor.from(Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 1, 0, 0), [2, 5])
      writeSafetensors(given, [
        ['input', input],
        ['text', text.states],
        ['pooled', text.pooled],
        ['mask', mask],
      ])
      execFileSync(python!, ['-B', join(packageRoot, 'test/support/reference-peer.py'), file, given, output])
      const transformer = new StarTransformer(config, { init: null })
      loadPart(source, 'transformer', transformer)
      const logits = noGrad(() => transformer.forward({ input, text: { ...text, mask } }))
      const { tensors } = readSafetensors(output)
      t.ok(relativeError(logits, [...tensors.get('logits')!.floats()]) < 2e-5)
      if (file !== reference) return
      t.strictSame([...tensors.get('step')!.floats()], [5])
      for (const [name, moment] of below(ours.tensors, 'optimizer.'))
        t.ok(
          tensors.get(name) && relativeError(tensors.get(name)!, [...moment]) === 0,
          `${name} is where PyTorch looks for it`,
        )
    })
  }
})
