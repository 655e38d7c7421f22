/** Configurations of the reference implementation: what its files are translated to, its flags, and what is refused or has no effect. */
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'
import { scheduled } from '../../../lib/optim/index.js'
import type { RunConfig } from '../../../lib/train/index.js'
import { publishedFlags, publishedSchema } from '../../../lib/train/published/keys.js'
import { type ReadOptions, readRunConfig, resolveRunConfig } from '../../../lib/train/run-config.js'

/** The keys that the reference implementation's files and documented commands use. */
const keysInUse = [
  ...['web_tar_root', 'web_tar_root_val', 'web_tar_len', 'web_tar_len_val', 'prompt_length', 'using_webtar'],
  ...['data_args', 'depth', 'ini', 'hd', 'aln', 'alng', 'fp16', 'tblr', 'tlr', 'twd', 'twde', 'tclip', 'ls'],
  ...['text_enc', 'text_enc_path', 'ckpt_path', 'local_out_dir_path', 'pretrained_ckpt', 'exp_name', 'bs', 'ac', 'ep'],
  ...['wp', 'wp0', 'wpe', 'sche', 'opt', 'saln', 'anorm', 'pn', 'patch_nums', 'patch_size', 'drop_scale_length'],
  ...['classifier_free_training_prob', 'hflip', 'workers', 'pg', 'pg0', 'pgwp', 'tf32', 'seed'],
  ...['same_seed_for_all_ranks', 'cfg', 'instance_prompt', 'val_it', 'print_every', 'infer_bsz', 'enable_cross'],
  ...['rope_emb', 'lvl_emb', 'rope_norm', 'rope_theta', 'logit_norm', 'from_scratch', 'from_0'],
]

const least = {
  data_args: { lmdb_dirs: 'packs' },
  text_enc_path: 'clip',
  ckpt_path: 'weights',
  local_out_dir_path: 'out',
  depth: 16,
  bs: 512,
  ep: 10,
}

const read = (keys: object, options: ReadOptions = {}) => resolveRunConfig({ ...least, ...keys }, 'x.json', options)
const run = (keys: object): RunConfig => read(keys).config
const flags = (...pairs: [string, string][]): ReadOptions => ({ flags: new Map(pairs) })

const scales256 = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
const scales512 = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]
const scales1024 = [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64]

/** What all published files amount to. */
const common = (batchSize: number, epochs: number, learningRate: number, resolution: number) => ({
  seed: 0,
  data: {
    packs: ['data/packs'],
    heldOutPacks: ['data/packs-val'],
    resolution,
    captionKeys: [],
    filters: {},
    flip: 0,
    badShare: 0.01,
  },
  optimizer: {
    kind: 'adamw',
    batchSize,
    accumulate: 1,
    epochs,
    learningRate,
    schedule: 'lin0',
    warmupEpochs: epochs / 50,
    warmupStart: 0.005,
    endRatio: 0.01,
    betas: [0.9, 0.95],
    weightDecay: 0.05,
    weightDecayEnd: 0.05,
    clip: 2,
    ema: 0,
    shard: false,
  },
  precision: 'f32',
  work: { saveEvery: 500, keep: 2, keepBest: true, validateEpochs: 1, picturesEvery: 500, prompts: [] },
  init: { head: 0.02, modulation: 0.5, gain: 5e-5 },
  textDropout: 0.1,
})

const model = (depth: number) => ({
  depth,
  width: 64 * depth,
  heads: depth,
  mlpRatio: 4,
  attnL2Norm: true,
  rope: true,
  ropeTheta: 10000,
  ropeNorm: 64,
  levelEmbedding: true,
  logitNorm: true,
  sharedAdaLN: false,
  enableCross: true,
  crossAttention: 'per-sample',
})

const transformer = (name: string, depth: number, patchNums: number[]) => ({
  kind: 'transformer',
  name,
  runFolder: `runs/${name}`,
  tokenizer: './checkpoints/vae_ch160v4096z32.pth',
  patchNums,
  textEncoder: 'checkpoints/stable-diffusion-2-1',
  model: model(depth),
  recompute: false,
  labelSmoothing: 0,
  scaleWeights: 'tokens',
  selfCorrection: 0,
  sampling: { cfg: 4 },
})

t.test('the published files, value by value', async (t) => {
  const file = (name: string) => readRunConfig(join(packageRoot, 'configs', `${name}.json`)).config
  t.same(file('config_d16_256'), { ...common(512, 10, 1e-4, 256), ...transformer('star_d16_256', 16, scales256) })
  const after = (name: string) => ({ start: { weights: `runs/${name}/model`, optimizer: 'reset' } })
  t.same(file('config_d30_stage2_256'), {
    ...common(480, 10, 5e-5, 256),
    ...transformer('star_d30_stage2_256', 30, scales256),
    ...after('star_d30_256'),
  })
  t.same(file('config_d30_512'), {
    ...common(192, 5, 5e-5, 512),
    ...transformer('star_d30_512', 30, scales512),
    ...after('star_d30_stage2_256'),
  })
  t.same(file('config_d30_1024'), {
    ...common(64, 5, 2e-5, 1024),
    ...transformer('star_d30_1024', 30, scales1024),
    ...after('star_d30_512'),
    tokenDrop: { fromScale: 13, keep: 8800 },
  })
  t.same(file('config_d30_samplev3_1024'), {
    ...common(64, 5, 1e-5, 1024),
    kind: 'sampler',
    name: 'star_d30_sampler_1024',
    runFolder: 'runs/star_d30_sampler_1024',
    base: 'runs/star_d30_1024/model',
    stableFrom: 9,
  })
})

t.test('every key in use is known, and all but the nested one are flags', async (t) => {
  for (const key of keysInUse) t.ok(key in publishedSchema.shape, key)
  t.same(new Set(publishedFlags), new Set(Object.keys(publishedSchema.shape).filter((key) => key !== 'data_args')))
})

t.test('each key has its meaning', async (t) => {
  const cases: [object, object][] = [
    [{ tlr: null, tblr: 2e-4, bs: 2560 }, { optimizer: { learningRate: 1e-4, batchSize: 2560 } }],
    [{ tlr: 3e-4, tblr: 2e-4 }, { optimizer: { learningRate: 3e-4 } }],
    [{ wp: 2, twde: 0.2, tclip: -1 }, { optimizer: { warmupEpochs: 2, weightDecayEnd: 0.2, clip: 0 } }],
    [
      { sche: 'cos', opt: 'adam', wp0: 0.1, wpe: 0.2 },
      { optimizer: { schedule: 'cos', warmupStart: 0.1, endRatio: 0.2 } },
    ],
    [
      { bs: 64, ac: 4, fp16: 1 },
      { optimizer: { batchSize: 64, accumulate: 4 }, precision: 'f16' },
    ],
    [{ fp16: 2 }, { precision: 'bf16', optimizer: { accumulate: 1 } }],
    [
      { val_it: 100, ac: 4, print_every: 50 },
      { work: { saveEvery: 25, picturesEvery: 25, logsPerEpoch: 50, validateEpochs: 1 } },
    ],
    [{ instance_prompt: 'prompts.txt' }, { work: { promptFile: 'prompts.txt', prompts: [] } }],
    [{ instance_prompt: ['a red apple'] }, { work: { prompts: ['a red apple'] } }],
    [
      { pg: 0.5, pg0: 2 },
      { progressive: { share: 0.5, firstScale: 2 }, optimizer: { schedule: 'lin0.5' } },
    ],
    [{ pg: 0.5, pgwp: 0.1 }, { progressive: { share: 0.5, firstScale: 4, warmupEpochs: 0.1 } }],
    [{ pn: 1024, drop_scale_length: 8800 }, { tokenDrop: { fromScale: 13, keep: 8800 } }],
    [{ fp16: 0 }, { precision: 'f32' }],
    [{ pn: '512' }, { patchNums: scales512, data: { resolution: 512 } }],
    [{ pn: 1024 }, { patchNums: scales1024, data: { resolution: 1024 } }],
    [
      { pn: '1-2_4', patch_size: 8 },
      { patchNums: [1, 2, 4], data: { resolution: 32 } },
    ],
    [{ patch_nums: [1, 3] }, { patchNums: [1, 3], data: { resolution: 48 } }],
    [{}, { patchNums: scales256, name: 'star-d16-256', seed: 0 }],
    [
      { exp_name: 'mine', seed: 7 },
      { name: 'mine', seed: 7 },
    ],
    [{ ini: 0.01, hd: -1, aln: 1, alng: 1e-3 }, { init: { std: 0.01, head: 1, modulation: 1, gain: 1e-3 } }],
    [{ saln: 1, anorm: false, rope_emb: 0 }, { model: { sharedAdaLN: true, attnL2Norm: false, rope: false } }],
    [
      { lvl_emb: false, rope_norm: 32, rope_theta: 100, logit_norm: false, enable_cross: false },
      { model: { levelEmbedding: false, ropeNorm: 32, ropeTheta: 100, logitNorm: false, enableCross: false } },
    ],
    [
      { ls: 0.1, cfg: 2, classifier_free_training_prob: 0 },
      { labelSmoothing: 0.1, sampling: { cfg: 2 }, textDropout: 0 },
    ],
    [{ ckpt_path: 'a/vae.pth' }, { tokenizer: './a/vae.pth' }],
    [{ ckpt_path: '/a' }, { tokenizer: '/a/vae_ch160v4096z32.pth' }],
    [{ ckpt_path: '../a' }, { tokenizer: '../a/vae_ch160v4096z32.pth' }],
    [{ data_args: { lmdb_dirs: ['a', 'b'] } }, { data: { packs: ['a', 'b'] } }],
    [{ data_args: { lmdb_dirs: 'a', lmdb_dirs_val: 'b' } }, { data: { packs: ['a'], heldOutPacks: ['b'] } }],
    [{ hflip: true, workers: 3, prompt_length: [3, 2000] }, { data: { flip: 0.5, workers: 3 } }],
    [{ prompt_length: [3, 2000] }, { data: { filters: { captionLength: [3, 2000] } } }],
    [{ workers: -1, prompt_length: 77 }, { data: { workers: 1, flip: 0 } }],
    [
      { using_webtar: true, web_tar_root: 'a', web_tar_root_val: ['b'], web_tar_len: 100 },
      { data: { tars: ['a'], heldOutTars: ['b'], tarSamples: 100 } },
    ],
    [{ text_enc: 't5', text_enc_path: 't5-xl' }, { textEncoder: 't5-xl' }],
  ]
  for (const [keys, expected] of cases) t.match(run(keys), expected, JSON.stringify(keys))
  t.equal('std' in (run({ ini: -1 }) as { init: object }).init, false)
})

t.test('a sampler head', async (t) => {
  const sampler = (keys: object) => read(keys, { kind: 'sampler' })
  t.match(sampler({ pretrained_ckpt: 'a/ar-ckpt.pth', pn: '1_2' }).config, {
    kind: 'sampler',
    base: 'a/ar-ckpt.pth',
    tokenizer: './weights/vae_ch160v4096z32.pth',
    textEncoder: 'clip',
    patchNums: [1, 2],
  })
  const folder = sampler({ pretrained_ckpt: 'a/model' }).config
  t.same(
    ['tokenizer', 'textEncoder', 'patchNums'].filter((key) => key in folder),
    [],
    'a model folder says the rest itself',
  )
  t.match(sampler({ pretrained_ckpt: 'a/model', saln: true }).notices, [/"depth", "saln": no effect on a sampler head/])
  t.throws(() => sampler({}), { code: 'ERR_CONFIG', message: /^x\.json: "pretrained_ckpt" is missing: name the model/ })
  const named = resolveRunConfig({ ...least, pretrained_ckpt: 'a/model' }, 'config_d30_samplev3_1024.json')
  t.equal(named.config.kind, 'sampler', 'the name of the file decides where no command does')
  t.match(resolveRunConfig(least, 'config_d30_samplev3_1024.json', { kind: 'transformer' }).notices, [/by its name/])
})

t.test('flags override the file', async (t) => {
  const flagged = (...pairs: [string, string][]) => read({ bs: 8, saln: true, tlr: 1 }, flags(...pairs)).config
  t.match(flagged(['bs', '16'], ['depth', '2']), { optimizer: { batchSize: 16 }, model: { depth: 2, width: 128 } })
  t.match(flagged(['saln', 'False']), { model: { sharedAdaLN: false } })
  t.match(flagged(['tlr', 'None'], ['bs', '5120']), { optimizer: { learningRate: 1e-4 } })
  t.match(flagged(['tlr', '3e-4'], ['alng', '1e-3']), { optimizer: { learningRate: 3e-4 }, init: { gain: 1e-3 } })
  t.match(flagged(['pn', '1_2_3']), { patchNums: [1, 2, 3] })
  t.match(flagged(['patch_nums', '[1, 2]']), { patchNums: [1, 2] })
  t.match(flagged(['exp_name', '123']), { name: '123' }, 'a text that looks like a number')
  t.match(flagged(['ini', '-1']), { init: { head: 0.02 } })
  t.match(resolveRunConfig(least, 'x.json', { set: [['data_args.lmdb_dirs', '["p"]']] }).config, {
    data: { packs: ['p'] },
  })
  const sharded = resolveRunConfig(least, 'x.json', {
    set: [
      ['bs', '64'],
      ['optimizer.shard', 'true'],
      ['recompute', 'true'],
    ],
  })
  t.match(
    sharded.config,
    { recompute: true, optimizer: { shard: true, batchSize: 64 } },
    'keys of ours are set of the translation',
  )
  t.throws(() => resolveRunConfig(least, 'x.json', { set: [['optimizer.shrad', 'true']] }), {
    code: 'ERR_CONFIG',
    message: /unknown key "optimizer\.shrad": did you mean "shard"\?/,
  })
})

t.test('mistakes are named in one line', async (t) => {
  const refused = (keys: object, message: RegExp, options: ReadOptions = {}) =>
    t.throws(() => read(keys, options), { message }, String(message))
  refused({ dpeth: 3 }, /^x\.json: unknown key "dpeth": did you mean "depth"\?/)
  refused({ data_args: { lmdb_dir: 'a' } }, /unknown key "data_args\.lmdb_dir": did you mean "lmdb_dirs"\?/)
  refused({ bs: '8' }, /^x\.json: "bs" is "8", expected number/)
  refused({ saln: 'yes' }, /"saln" is "yes", expected boolean or one of 0\|1/)
  refused({ pn: '1_x' }, /"pn": "1_x" is no list of scales/)
  refused({ pn: '1_2', patch_nums: [1, 3] }, /"pn" is 1_2, but "patch_nums" is 1_3: keep one of them/)
  refused({ opt: 'lion' }, /"opt" is "lion", expected adamw/)
  refused({ bs: 10, ac: 4 }, /"bs" is 10, which "ac" \(4\) micro-batches cannot share evenly/)
  refused({ using_webtar: true, web_tar_root: 'a' }, /"web_tar_len" is missing/)
  refused({ from_scratch: false }, /"from_scratch" is false, which would zero/)
  refused({ prompt_length: 120 }, /"prompt_length" is 120, but a clip encoder takes 77 tokens/)
  const t5 = join(packageRoot, 'test/data/t5')
  refused({ text_enc_path: t5 }, /"text_enc" is "clip", but .*t5 holds a t5: set one by the other/)
  t.match(run({ text_enc: 't5', text_enc_path: t5 }), { textEncoder: t5 })
  t.match(run({ text_enc_path: join(packageRoot, 'test/data/clip') }), { textEncoder: /clip/ })
  refused({ drop_scale_length: 600 }, /"drop_scale_length" is 600, for which tokens .* there are 10 scales/)
  refused({ hd: 0 }, /"hd" is 0/)
  refused({ ini: 0 }, /"ini" is 0/)
  refused({ fp16: 3 }, /"fp16" is 3, expected one of 0\|1\|2/)
  t.throws(() => resolveRunConfig({}, 'x.json'), { message: /"depth" is missing.*and \d more|"depth" is missing/ })
  refused({}, /"kind" is missing: a tokenizer is trained by/, { kind: 'tokenizer' })
  refused({}, /^--bs is "many", expected number$/, flags(['bs', 'many']))
  refused({}, /^--bs is "0", expected number to be >=1$/, flags(['bs', '0']))
  refused({}, /^--opt is "lion", expected adamw|x\.json: --opt is "lion", expected adamw/, flags(['opt', 'lion']))
  refused({}, /^unknown flag --dpeth: did you mean --depth\?$/, flags(['dpeth', '1']))
})

t.test('what has no effect is said, and only that', async (t) => {
  t.same(read({}).notices, [])
  t.same(read({ tf32: false, fuse: true, afuse: 1, vfast: 0, from_0: true, same_seed_for_all_ranks: 0 }).notices, [])
  t.match(read({ tf32: true, fuse: false, same_seed_for_all_ranks: 3 }).notices, [
    /^"tf32" true has no effect: products of f32/,
    /^"fuse" false has no effect/,
    /^"same_seed_for_all_ranks" 3 has no effect/,
  ])
  t.match(read({ pg0: 3, pgwp: 1, infer_bsz: 4 }).notices, [
    /^"infer_bsz" 4 has no effect/,
    /^"pg0", "pgwp": no effect, because pg is 0/,
  ])
  const tars = { web_tar_root: 'a', web_tar_len: 1 }
  t.match(read(tars).notices, [/^"web_tar_root", "web_tar_len": no effect, because using_webtar is false/])
  t.match(read({ ...tars, using_webtar: 1, web_tar_len_val: 1 }).notices, [
    /^"data_args": no effect, because using_webtar is true/,
    /^"web_tar_len_val" has no effect: all images/,
  ])
  t.match(read({}, flags(['local-rank', '1'])).notices, [
    /^--local_rank 1 has no effect: ranks come from the environment/,
  ])
})

t.test('a plateau over the whole training is a schedule', async (t) => {
  const options = {
    steps: 5,
    peak: 1,
    warmupSteps: 0,
    warmupStart: 0,
    endRatio: 0.01,
    weightDecay: 0,
    weightDecayEnd: 0,
  }
  for (let step = 0; step < 5; step++) t.ok(Number.isFinite(scheduled('lin1', { ...options, step }).lr))
})
