import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { modelInfo } from '../../../lib/engine/model-info.js'
import { convertedMetadata, findModel, loadPart, type SourceOptions } from '../../../lib/models/source.js'
import { publishedScales, releasedStarConfig, StarTransformer, starConfig } from '../../../lib/models/star/index.js'
import { Tokenizer } from '../../../lib/models/tokenizer/index.js'
import { native } from '../../../lib/native/index.js'
import { Random, zeros } from '../../../lib/tensor/index.js'
import { convertWeights, openWeights, writeModelFolder } from '../../../lib/weights/index.js'
import { Golden, type RuleParameter } from '../../support/golden.js'
import { stateOf, type Tree, writeTree } from '../../support/released.js'

const patchNums = [1, 2, 4]
const sizes = { vocabSize: 32, latentChannels: 8 }
const tokenizerConfig = { baseChannels: 32, channelMultipliers: [1, 2], residualBlocks: 1, ...sizes, patchNums }
const transformerConfig = { depth: 2, width: 32, heads: 2, patchNums, ...sizes, textWidth: 384 }
const tokenizer = new Tokenizer(tokenizerConfig, { init: new Random(1) })
const transformer = new StarTransformer(transformerConfig, { init: new Random(2) })
const root = t.testdir()

/** A checkpoint of the nesting that the reference implementation writes. */
function write(name: string, trainer: Tree): string {
  const path = join(root, name)
  mkdirSync(dirname(path), { recursive: true })
  writeTree(path, { epoch: 3, iter: 12, trainer })
  return path
}

const config = { patch_nums: patchNums, first_prog: true }
const star = stateOf(transformer)
const whole = write('whole/ar-ckpt.pth', { config, var_wo_ddp: star, vae_local: stateOf(tokenizer) })
const bare = write('bare/ar-ckpt.pth', { config, var_wo_ddp: star })
const unsaid = write('unsaid/ar-ckpt.pth', { var_wo_ddp: star, vae_local: stateOf(tokenizer) })
const vae = join(root, 'vae', 'vae_ch160v4096z32.pth')
mkdirSync(dirname(vae))
writeTree(vae, { ...stateOf(tokenizer), 'quantize.ema_vocab_hit_SV': zeros([10, 32]) })

/** One hash of all names and values. */
function hashOf(module: Tokenizer | StarTransformer): string {
  const hash = createHash('sha256')
  for (const { name, tensor } of module.namedTensors()) hash.update(name).update(new Uint8Array(tensor.floats().buffer))
  return hash.digest('hex')
}

/** The weights that a model gets are those that were saved, and nothing else stays in memory. */
function loads(t: Test, path: string, options: SourceOptions = {}): void {
  const before = native.memory('cpu').liveBytes
  const source = findModel(path, options)
  t.match(source, { transformer: starConfig({ ...transformerConfig, crossAttention: 'first-sample' }) })
  t.match(source.tokenizer, tokenizerConfig)
  const made = {
    tokenizer: new Tokenizer(source.tokenizer, { init: null }),
    transformer: new StarTransformer(source.transformer!, { init: null }),
  }
  for (const [part, saved] of [['tokenizer', tokenizer] as const, ['transformer', transformer] as const]) {
    loadPart(source, part, made[part])
    t.equal(hashOf(made[part]), hashOf(saved), part)
    made[part].dispose()
  }
  t.equal(native.memory('cpu').liveBytes, before)
}

t.test('a checkpoint and its tokenizer: inside, beside, named', async (t) => {
  loads(t, whole)
  loads(t, bare, { tokenizer: vae })
  loads(t, bare, { tokenizer: whole })
  loads(t, unsaid, { patchNums })
  t.throws(() => findModel(bare), {
    code: 'ERR_FILE',
    message: /holds no tokenizer, and vae_ch160v4096z32\.pth is not beside it/,
  })
  copyFileSync(vae, join(root, 'bare', 'vae_ch160v4096z32.pth'))
  loads(t, bare)
  t.throws(() => findModel(bare, { tokenizer: bare }), { code: 'ERR_FILE', message: /is no tokenizer/ })
})

t.test('what is said of a checkpoint', async (t) => {
  const info = modelInfo(whole, { textEncoder: 'minilm-l6' })
  t.match(info, {
    name: 'ar-ckpt',
    path: whole,
    imageSize: 8,
    crossAttention: 'first-sample',
    textEncoder: 'minilm-l6',
  })
  t.equal(
    info.transformer?.parameters,
    [...transformer.namedTensors()].reduce((n, { tensor }) => n + tensor.count, 0),
  )
  t.equal(modelInfo(whole, { crossAttention: 'per-sample' }).crossAttention, 'per-sample')
  t.match(modelInfo(vae), { transformer: null, textEncoder: null, scales: publishedScales.get(256) })
})

t.test('tensors of the reference implementation that carry nothing, and a sampler head, are let pass', async (t) => {
  const more: Tree = { 'class_emb.weight': zeros([11, 32]), lvl_1L: zeros([1, 21]), 'head_logits2.bias': zeros([32]) }
  const path = write('more/ar-ckpt.pth', { config, var_wo_ddp: { ...star, ...more }, vae_local: stateOf(tokenizer) })
  loads(t, path)
  t.equal(modelInfo(path).transformer?.parameters, modelInfo(whole).transformer?.parameters)
})

t.test('weights that do not fit are listed by name', async (t) => {
  const changed = { ...star }
  delete changed['blocks.0.ffn.fc1.bias']
  changed['blocks.0.ffn.fc1.bais'] = zeros([128])
  delete changed['blocks.1.attn.proj.weight']
  changed['word_embed.bias'] = zeros([33])
  const path = write('wrong/ar-ckpt.pth', { config, var_wo_ddp: changed, vae_local: stateOf(tokenizer) })
  const source = findModel(path)
  using model = new StarTransformer(source.transformer!, { init: null })
  t.throws(() => loadPart(source, 'transformer', model), {
    code: 'ERR_SHAPE',
    message: new RegExp(
      `^${path}: the weights do not fit the model: 2 missing: blocks\\.0\\.ffn\\.fc1\\.bias \\(there is ` +
        'blocks\\.0\\.ffn\\.fc1\\.bais\\), blocks\\.1\\.attn\\.proj\\.weight; 1 unexpected: blocks\\.0\\.ffn\\.fc1\\.bais; ' +
        '1 of another shape: word_embed\\.bias is \\(33\\), expected \\(32\\)\\. Take all parts',
    ),
  })
  const none = write('none/ar-ckpt.pth', { config, var_wo_ddp: { 'blocks.0.attn.mat_qkv.weight': zeros([3, 1]) } })
  t.throws(() => findModel(none), {
    code: 'ERR_SHAPE',
    message: /not those of a STAR transformer: word_embed\.weight is/,
  })
})

t.test('scales that are not known or do not fit', async (t) => {
  const refused = (path: string, options: SourceOptions, message: RegExp) =>
    t.throws(() => findModel(path, options), { code: 'ERR_CONFIG', message })
  refused(unsaid, {}, /does not say its scales, and its weights \(3 scales\) fit no published model/)
  refused(whole, { patchNums: [1, 2] }, /the scales 1 2 do not fit the weights, which have 3 scales/)
  const shapes = (scales: number) =>
    new Map(Array.from(transformer.namedTensors(), ({ name, tensor }) => [name, tensor.shape] as const)).set(
      'lvl_embed.weight',
      [scales, 32],
    )
  t.throws(() => releasedStarConfig(shapes(10)), { message: /fit 256² \(1 2 3 .*\) and 512² \(1 2 3 4 6/ })
  t.same(releasedStarConfig(shapes(14)).patchNums, publishedScales.get(1024))
  const absolute = shapes(10).set('pos_1LC', [1, 2240, 32])
  t.match(releasedStarConfig(absolute), { patchNums: publishedScales.get(512), rope: false })
})

t.test('options come from names, shapes and settings', async (t) => {
  const golden = new Golden('transformer')
  const { pn } = golden.json<{ pn: number[] }>('config')
  const parameters = golden.json<Record<string, Record<string, RuleParameter>>>('parameters')
  const of = (variant: string, values = {}) => {
    const shapes = new Map(Object.entries(parameters[variant]).map(([name, { shape }]) => [name, shape]))
    return releasedStarConfig(shapes, new Map(Object.entries(values)), { patchNums: pn })
  }
  const base = { depth: 3, width: 192, heads: 3, textWidth: 48, attnL2Norm: true, rope: true, sharedAdaLN: false }
  t.match(of('base'), { ...base, mlpRatio: 4, enableCross: true, levelEmbedding: true, logitNorm: true })
  t.match(of('saln'), { ...base, sharedAdaLN: true })
  t.match(of('abs_pos'), { ...base, rope: false })
  t.match(of('no_l2norm'), { ...base, attnL2Norm: false })
  const settings = { 'args.logit_norm': false, 'args.rope_theta': 100, 'args.rope_norm': 32 }
  t.match(of('base', settings), { logitNorm: false, ropeTheta: 100, ropeNorm: 32 })
})

t.test('a converted checkpoint still says its scales and its mode', async (t) => {
  const out = join(root, 'converted', 'transformer.safetensors')
  const key = 'trainer.var_wo_ddp'
  await convertWeights(unsaid, join(root, 'converted', 'unsaid.safetensors'), { key })
  await convertWeights(whole, out, { key, metadata: convertedMetadata(whole, key) })
  {
    using weights = openWeights(out)
    t.same(weights.metadata, { crossAttention: 'first-sample', patch_nums: '1 2 4' })
  }
  loads(t, out, { tokenizer: vae })
  t.same(convertedMetadata(out), {}, 'what it says already is not said again')
  t.same(convertedMetadata(vae), {})
})

t.test('rotations: as given, as the checkpoint says, as version old has them, or as published', async (t) => {
  const rotations = (options: SourceOptions, path = unsaid): (number | undefined)[] => {
    const { ropeTheta, ropeNorm } = findModel(path, { patchNums, ...options }).transformer!
    return [ropeTheta, ropeNorm]
  }
  t.same(rotations({}), [10000, 64])
  t.same(rotations({ version: '1024' }), [10000, 64])
  t.same(rotations({ version: 'old' }), [100, 32])
  t.same(rotations({ version: 'old', ropeTheta: 500 }), [500, 32])
  t.same(rotations({ ropeTheta: 500, ropeNorm: 16 }), [500, 16])
  t.same(findModel(unsaid, { patchNums, version: 'old' }).sampling, { version: 'old' }, 'pictures are drawn by it')
  const key = 'trainer.var_wo_ddp'
  const out = join(root, 'rotated', 'transformer.safetensors')
  await convertWeights(unsaid, out, { key, metadata: convertedMetadata(unsaid, key, { patchNums, version: 'old' }) })
  t.same(rotations({ tokenizer: vae, patchNums: undefined }, out), [100, 32], 'a converted file says them')
  t.same(rotations({ tokenizer: vae, patchNums: undefined, ropeTheta: 7, version: 'old' }, out), [7, 32])
})

t.test('a file of a model folder stands for the model', async (t) => {
  const folder = join(root, 'folder')
  const content = { name: 'mine', tokenizer: tokenizerConfig, transformer: transformerConfig, textEncoder: 'minilm-l6' }
  writeModelFolder(folder, { config: content, tokenizer, transformer })
  t.match(findModel(join(folder, 'transformer.safetensors')), { name: 'mine', path: folder })
  t.equal(modelInfo(folder).crossAttention, 'per-sample')
  t.throws(() => findModel(folder, { patchNums }), {
    code: 'ERR_ARGUMENT',
    message: /"patchNums" was given for .*folder, which says it in its model\.json/,
  })
})
