/** Files of the shape of the reference implementation's: they resolve, say what they lack, and train on tiny data. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { convertWeights } from '../../../lib/index.js'
import { packageRoot } from '../../../lib/native/index.js'
import { Trainer, type TransformerRunConfig } from '../../../lib/train/index.js'
import { readRunConfig, resolveRunConfig } from '../../../lib/train/run-config.js'
import { referenceConfigs } from '../../support/reference-configs.js'
import { runSteps, tinyTokenizerRun, tinyTransformerRun, writeTinyPack } from '../../support/tiny-run.js'

const resolved = (name: string, keys: object = {}, flags: [string, string][] = []) =>
  resolveRunConfig({ ...referenceConfigs[name], ...keys }, `${name}.json`, { flags: new Map(flags) })

t.test('all 11 files resolve as they are', async (t) => {
  t.equal(Object.keys(referenceConfigs).length, 11)
  for (const name of Object.keys(referenceConfigs)) {
    const { config, notices, explained } = resolved(name)
    t.equal(config.kind, /sample/.test(name) ? 'sampler' : 'transformer', name)
    t.equal(new Set(notices).size, notices.length)
    t.equal(notices.filter((notice) => /data_path.*mid_reso.*default_label/.test(notice)).length, 1, 'said once')
    t.ok(notices.some((notice) => /enable_discard.*--discard_list FILE/.test(notice)))
    t.ok(notices.some((notice) => /"reward_thre".*--reward FOLDER/.test(notice)))
    for (const key of Object.keys(referenceConfigs[name]))
      t.match(
        explained.find((row) => row.key === key),
        { origin: 'file', meaning: /./ },
        key,
      )
  }
  const { config } = resolved('config_d30_512')
  t.match(config, { data: { packs: [], resolution: 512 }, work: { promptFile: '/data/prompts.txt', prompts: [] } })
  t.match(resolved('config_d30_samplev3_1024').config, { data: { tars: [], heldOutTars: undefined, tarSamples: 4e7 } })
})

t.test('what the lists of pictures and other keys do', async (t) => {
  const data = (name: string, keys: object, flags?: [string, string][]) => resolved(name, keys, flags).config.data
  const name = 'config_d16_ab_cross_256'
  t.match(
    data(name, {}, [
      ['lmdb_dirs', 'packs'],
      ['lmdb-dirs-val', '["a","b"]'],
    ]),
    {
      packs: ['packs'],
      heldOutPacks: ['a', 'b'],
    },
  )
  t.match(data(name, { data_args: { lmdb_dirs: ['', 'packs', ''], lmdb_dirs_val: [''] } }), {
    packs: ['packs'],
    heldOutPacks: undefined,
  })
  t.match(
    data(name, { reward_thre: 0.5 }, [
      ['discard-list', 'a.json'],
      ['reward', 'scores'],
    ]),
    {
      filters: { discard: ['a.json'], reward: { scores: ['scores'], above: 0.5 } },
    },
  )
  const off = { enable_discard: false, enable_discard_low: false, enable_discard_aesthetic: false }
  const unused = resolved(name, off, [['discard-list', 'a.json']])
  t.equal(unused.config.data.filters.discard, undefined)
  t.ok(unused.notices.some((notice) => /^--discard_list: no effect, because enable_discard/.test(notice)))
  t.match(resolved(name, { enable_fig_val: false }).config, { work: { picturesEvery: 0, saveEvery: 10000 } })
  t.match(resolved(name, { instance_prompt: ['a', ''] }).config.work, { prompts: ['a'], promptFile: undefined })
  const notices = (keys: object): string[] => resolved(name, keys).notices
  t.ok(notices({ device: 'cpu' }).some((notice) => /"device" "cpu" has no effect: .*--device/.test(notice)))
  t.ok(notices({ resos: [16, 32] }).some((notice) => /"resos"/.test(notice)))
})

t.test('the peak learning rate without tlr', async (t) => {
  // ac·tblr·glb_batch_size/5120, with glb_batch_size the pictures of a micro-batch of all processes, bs/ac.
  for (const [bs, ac, tblr] of [
    [512, 1, 1e-4],
    [480, 4, 3e-4],
    [64, 2, 1e-4],
  ]) {
    const { learningRate } = resolved('config_d16_ab', { tlr: null, bs, ac, tblr }).config.optimizer
    t.ok(Math.abs(learningRate - (ac * tblr * (bs / ac)) / 5120) < 1e-15, `bs ${bs}, ac ${ac}`)
  }
})

t.test('mistakes are one line', async (t) => {
  const refused = (keys: object, message: RegExp) =>
    t.throws(() => resolved('config_d30_512', keys), { code: 'ERR_CONFIG', message })
  refused({ reward_thr: 0 }, /^config_d30_512\.json: unknown key "reward_thr": did you mean "reward_thre"\?[^\n]*$/)
  refused({ enable_discard: 'yes' }, /"enable_discard" is "yes", expected boolean[^\n]*$/)
  refused({ reward_thre: '0' }, /"reward_thre" is "0", expected number[^\n]*$/)
  refused({ data_args: { lmdb_dirs: 3 } }, /"data_args\.lmdb_dirs" is 3, expected string or array[^\n]*$/)
})

t.test('a run from each takes three steps on tiny data', async (t) => {
  const folder = t.testdir()
  const pack = await writeTinyPack(join(folder, 'data'))
  await runSteps(tinyTokenizerRun(join(folder, 'tokenizer'), pack, 2))
  const tokenizer = join(folder, 'tokenizer', 'model')
  const files = join(folder, 'files')
  mkdirSync(files)
  await convertWeights(join(tokenizer, 'tokenizer.safetensors'), join(files, 'vae_ch160v4096z32.pth'))
  writeFileSync(join(folder, 'prompts.txt'), 'a red square\r\n\na blue circle\n')
  writeFileSync(join(folder, 'discard.json'), '["shapes-0", 1]')
  const base = (name: string) => join(folder, name, 'model')
  const onClip = { textEncoder: join(packageRoot, 'test/data/clip') }
  const small = tinyTransformerRun(join(folder, 'base'), pack, tokenizer, 1)
  const model = { ...(small.model as object), depth: 2, width: 128, heads: 2 }
  await runSteps({ ...small, ...onClip, model, work: { picturesEvery: 0 } })
  const flagsOf = (name: string): [string, string][] => [
    ['depth', '2'],
    ['pn', '1_2_4_8'],
    ['patch_nums', '1_2_4_8'],
    ['patch_size', '2'],
    ['bs', '4'],
    // Five micro-batches make an epoch of the ten pictures in steps of four.
    ['ep', '1.1'],
    ['fp16', '0'],
    ['lmdb_dirs', pack],
    ['using_webtar', 'false'],
    ['ckpt_path', files],
    ['text_enc_path', join(packageRoot, 'test/data', /t5/.test(name) ? 't5' : 'clip')],
    ['local_out_dir_path', join(folder, name)],
    ['instance_prompt', join(folder, 'prompts.txt')],
    ['discard_list', join(folder, 'discard.json')],
    ['drop_scale_length', 'None'],
    ['workers', '1'],
  ]
  for (const [name, keys] of Object.entries(referenceConfigs)) {
    const file = join(folder, `${name}.json`)
    writeFileSync(file, JSON.stringify(keys))
    const started: [string, string][] = 'pretrained_ckpt' in keys ? [['pretrained_ckpt', base('base')]] : []
    const { config } = readRunConfig(file, { flags: new Map([...flagsOf(name), ...started]) })
    const run = { ...config, optimizer: { ...config.optimizer, epochs: undefined, warmupEpochs: 0, steps: 3 } }
    if (name !== 'config_d16_ab') run.work.picturesEvery = 0
    // The files' sampler heads draw from the tenth scale on, which the small model does not have.
    if (run.kind === 'sampler') run.stableFrom = 2
    using trainer = await Trainer.open(JSON.parse(JSON.stringify(run)))
    const losses: number[] = []
    for await (const { loss } of trainer) losses.push(loss)
    t.equal(losses.length, 3, name)
    t.ok(losses.every(Number.isFinite), name)
    t.same((trainer.config as unknown as TransformerRunConfig).work.prompts, ['a red square', 'a blue circle'])
  }

  await t.test('without images, or a file of prompts, nothing starts', async (t) => {
    const out = join(folder, 'none')
    const keys = { ...referenceConfigs.config_d16_ab, local_out_dir_path: out }
    await t.rejects(Trainer.open(keys), { code: 'ERR_CONFIG', message: /"data\.packs" is empty.*--lmdb_dirs FOLDER/ })
    const named = { ...keys, data_args: { lmdb_dirs: [pack] }, instance_prompt: join(folder, 'no.txt') }
    await t.rejects(Trainer.open(named), { code: 'ERR_FILE', message: /no\.txt, the file of prompts/ })
  })
})
