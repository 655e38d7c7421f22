/**
 * Turns a configuration of the reference implementation into one of this program. Every key is honoured, or a notice says that it has no
 * effect here, or it is refused with the reason.
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { shown } from '../../config/parse-config.js'
import { publishedTokenizer } from '../../models/source.js'
import { textEncoderType } from '../../models/text/load.js'
import { StarError } from '../../native/error.js'
import type { PublishedConfig, PublishedKey } from './keys.js'

export type PublishedKind = 'transformer' | 'sampler'

/** A configuration of the reference implementation, and where its values come from. */
export interface Given {
  /** Parsed, with defaults. */
  keys: PublishedConfig
  /** Whether the file or a flag says a key. */
  says(key: PublishedKey): boolean
  /** A key as the user wrote it: `"bs"` in a file, `--bs` as a flag. */
  name(key: PublishedKey): string
  /** The file, for messages. */
  source: string
}

export interface Translation {
  /** What the schema of that kind of run takes. */
  run: Record<string, unknown>
  /** Keys that have no effect here, or another one, a line each. */
  notices: string[]
}

const defaultScales = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
const fileOfWeights = /\.(pth|pt|bin|ckpt|safetensors)$/i
/** Tokens that the published text encoders take. */
const tokensOf = { clip: 77, t5: 120 }

const complaint = ({ source }: Given, text: string): StarError =>
  new StarError('ERR_CONFIG', `${source}: ${text}. Correct this and run it again`)

const refuse = (given: Given, key: PublishedKey, reason: string): StarError =>
  complaint(given, `${given.name(key)} is ${shown(given.keys[key])}, ${reason}`)

function scalesOf(given: Given): number[] {
  const { pn, patch_nums: list } = given.keys
  if (pn && list && pn.join() !== list.join())
    throw complaint(
      given,
      `${given.name('pn')} is ${pn.join('_')}, but ${given.name('patch_nums')} is ${list.join('_')}: keep one of them`,
    )
  return pn ?? list ?? defaultScales
}

function modelOf({ keys }: Given): Record<string, unknown> {
  return {
    depth: keys.depth,
    width: 64 * keys.depth,
    heads: keys.depth,
    attnL2Norm: keys.anorm,
    rope: keys.rope_emb,
    ropeNorm: keys.rope_norm,
    ropeTheta: keys.rope_theta,
    levelEmbedding: keys.lvl_emb,
    logitNorm: keys.logit_norm,
    sharedAdaLN: keys.saln,
    enableCross: keys.enable_cross,
  }
}

function initOf(given: Given): Record<string, unknown> {
  const { ini, hd, aln, alng } = given.keys
  if (ini === 0) throw refuse(given, 'ini', 'expected a standard deviation, or a negative number for √(1/3C)')
  if (hd === 0)
    throw refuse(given, 'hd', 'with which nothing could be learnt, expected a factor, or a negative number for none')
  return { ...(ini > 0 && { std: ini }), head: hd < 0 ? 1 : hd, modulation: aln, gain: alng }
}

function optimizerOf(given: Given, kind: PublishedKind): Record<string, unknown> {
  const { keys } = given
  const { bs, ac } = keys
  // The reference implementation builds AdamW for both names.
  if (!/^adamw?$/i.test(keys.opt.trim())) throw refuse(given, 'opt', 'expected adamw, the only optimizer there is')
  if (bs % ac !== 0)
    throw complaint(
      given,
      `${given.name('bs')} is ${bs}, which ${given.name('ac')} (${ac}) micro-batches cannot share evenly`,
    )
  return {
    batchSize: bs,
    accumulate: ac,
    epochs: keys.ep,
    warmupEpochs: keys.wp || keys.ep / 50,
    // ac·tblr·glb_batch_size/5120, where glb_batch_size is bs/ac.
    learningRate: keys.tlr ?? (keys.tblr * bs) / 5120,
    schedule: kind === 'transformer' && keys.pg > 0 ? `lin${keys.pg}` : keys.sche,
    warmupStart: keys.wp0,
    endRatio: keys.wpe,
    betas: [0.9, 0.95],
    weightDecay: keys.twd,
    weightDecayEnd: keys.twde || keys.twd,
    clip: Math.max(0, keys.tclip),
  }
}

/** Packs, or tars where using_webtar says so; a list that is empty is to be filled before training starts. */
function imagesOf(given: Given): Record<string, unknown> {
  const { keys } = given
  const none = (paths: readonly string[] | undefined) => (paths && paths.length > 0 ? paths : undefined)
  if (!keys.using_webtar)
    return {
      packs: keys.lmdb_dirs ?? keys.data_args.lmdb_dirs ?? [],
      heldOutPacks: none(keys.lmdb_dirs_val ?? keys.data_args.lmdb_dirs_val),
    }
  if (!keys.web_tar_len)
    throw complaint(given, '"web_tar_len" is missing: say how many images of the tars make an epoch')
  return { tars: keys.web_tar_root ?? [], heldOutTars: none(keys.web_tar_root_val), tarSamples: keys.web_tar_len }
}

const discards = ['enable_discard', 'enable_discard_low', 'enable_discard_aesthetic'] as const

function filtersOf({ keys }: Given): Record<string, unknown> {
  const { prompt_length: length, discard_list: discard = [], reward = [], reward_thre: above } = keys
  return {
    ...(Array.isArray(length) && { captionLength: length }),
    ...(discard.length > 0 && discards.some((key) => keys[key]) && { discard }),
    ...(reward.length > 0 && { reward: { scores: reward, above } }),
  }
}

function dataOf(given: Given, scales: readonly number[]): Record<string, unknown> {
  const { patch_size: patch, hflip, workers } = given.keys
  return {
    ...imagesOf(given),
    resolution: scales[scales.length - 1] * patch,
    flip: hflip ? 0.5 : 0,
    // 0 leaves the number to the loader, -1 stands for no process beside the training.
    ...(workers !== 0 && { workers: Math.max(1, workers) }),
    filters: filtersOf(given),
  }
}

/** `text_enc` only repeats what the encoder's folder says: where there is one, they must agree. */
function checkText(given: Given): void {
  const { text_enc: kind, text_enc_path: folder, prompt_length: length } = given.keys
  const type = existsSync(folder) ? textEncoderType(folder) : undefined
  if (type !== undefined && !type.startsWith(kind))
    throw refuse(given, 'text_enc', `but ${folder} holds a ${type}: set one by the other`)
  if (typeof length === 'number' && length !== tokensOf[kind])
    throw refuse(
      given,
      'prompt_length',
      `but a ${kind} encoder takes ${tokensOf[kind]} tokens: remove it, or give [least, most] characters of a caption`,
    )
}

/** The reference implementation validates every epoch. What it counts in iterations are micro-batches. */
function workOf({ keys }: Given): Record<string, unknown> {
  const { val_it, print_every: lines, instance_prompt: prompts, ac, enable_fig_val: pictures } = keys
  const every = val_it && Math.max(1, Math.round(val_it / ac))
  return {
    validateEpochs: 1,
    ...(lines && { logsPerEpoch: lines }),
    ...(every && { saveEvery: every, picturesEvery: every }),
    ...(!pictures && { picturesEvery: 0 }),
    ...(typeof prompts === 'string' && prompts !== '' && { promptFile: prompts }),
    ...(Array.isArray(prompts) && { prompts: prompts.filter((prompt) => prompt !== '') }),
  }
}

/** A path that nobody takes for a name on Hugging Face, ORG/NAME. */
function tokenizerFile({ keys: { ckpt_path: path } }: Given): string {
  const file = fileOfWeights.test(path) ? path : join(path, publishedTokenizer)
  return isAbsolute(file) || /^\.\.?\//.test(file) ? file : `./${file}`
}

/** Index of the first scale whose tokens the reference implementation drops. */
const dropFrom = 13

/** Which tokens a step computes: those that token drop leaves, of the scales that progressive training has reached. */
function tokensOfStep(given: Given, scales: readonly number[]): Record<string, unknown> {
  const { drop_scale_length: keep, pg, pg0, pgwp } = given.keys
  if (keep && scales.length <= dropFrom)
    throw refuse(
      given,
      'drop_scale_length',
      `for which tokens of the scales from index ${dropFrom} on are dropped, but there are ${scales.length} scales: remove it`,
    )
  return {
    ...(keep && { tokenDrop: { fromScale: dropFrom, keep } }),
    ...(pg > 0 && { progressive: { share: pg, firstScale: pg0, ...(pgwp > 0 && { warmupEpochs: pgwp }) } }),
  }
}

const nameOf = ({ keys }: Given, resolution: number): string => keys.exp_name ?? `star-d${keys.depth}-${resolution}`

function transformerRun(given: Given, common: Record<string, unknown>, scales: number[]): Record<string, unknown> {
  const { keys } = given
  return {
    ...common,
    tokenizer: tokenizerFile(given),
    patchNums: scales,
    textEncoder: keys.text_enc_path,
    model: modelOf(given),
    ...tokensOfStep(given, scales),
    labelSmoothing: keys.ls,
    ...(keys.pretrained_ckpt && { start: { weights: keys.pretrained_ckpt } }),
    sampling: { cfg: keys.cfg },
  }
}

function samplerRun(given: Given, common: Record<string, unknown>, scales: number[]): Record<string, unknown> {
  const { pretrained_ckpt: base, text_enc_path: textEncoder } = given.keys
  if (!base) throw complaint(given, '"pretrained_ckpt" is missing: name the model that the sampler head stands on')
  return {
    ...common,
    base,
    // A model folder says these itself.
    ...(fileOfWeights.test(base) && { tokenizer: tokenizerFile(given), textEncoder, patchNums: scales }),
  }
}

/** Keys that change nothing here: the value that would say what happens anyway, and why others have no effect. */
const withoutEffect: Partial<Record<PublishedKey, { usual: unknown; why: string }>> = {
  tf32: { usual: false, why: 'products of f32 are computed in f32; fp16 chooses 16-bit arithmetic' },
  vfast: { usual: 0, why: 'nothing is compiled while it runs' },
  tfast: { usual: 0, why: 'nothing is compiled while it runs' },
  fuse: { usual: true, why: 'fused operations are always used' },
  afuse: { usual: true, why: 'AdamW is always one fused step' },
  infer_bsz: { usual: undefined, why: 'how many pictures are drawn at once changes none of them' },
  local_rank: { usual: undefined, why: 'ranks come from the environment (RANK, LOCAL_RANK)' },
  same_seed_for_all_ranks: { usual: 0, why: 'the order of images follows seed and epoch, the same in every process' },
  from_0: { usual: true, why: 'epochs count from 0, and a run folder resumes where it stopped' },
  device: { usual: 'cuda', why: 'the device is chosen by --device' },
  resos: { usual: null, why: 'pn and patch_size say the sides' },
  data_load_reso: { usual: null, why: 'pn and patch_size say the side' },
  batch_size: { usual: 0, why: 'it is bs/ac over the number of processes' },
  glb_batch_size: { usual: 0, why: 'it is bs/ac' },
}

/** Keys that have no meaning here whatever they hold: they are named together. */
const meaningless: readonly PublishedKey[] = ['data_path', 'mid_reso', 'default_label']

/** Keys of the model, which the weights under a sampler head say themselves. */
const saidByBase: readonly PublishedKey[] = [
  ...(['depth', 'saln', 'anorm', 'rope_emb', 'rope_norm', 'rope_theta', 'lvl_emb', 'logit_norm'] as const),
  ...(['enable_cross', 'aln', 'alng', 'ls', 'cfg', 'pg', 'drop_scale_length'] as const),
]

function noticesOf(given: Given, kind: PublishedKind): string[] {
  const { keys, says, name } = given
  const notices = (Object.keys(withoutEffect) as PublishedKey[]).flatMap((key) => {
    const { usual, why } = withoutEffect[key]!
    return says(key) && keys[key] !== usual ? [`${name(key)} ${shown(keys[key])} has no effect: ${why}`] : []
  })
  const stages = (['pg0', 'pgwp'] as const).filter((key) => says(key))
  if (keys.pg === 0 && stages.length > 0) notices.push(`${stages.map(name).join(', ')}: no effect, because pg is 0`)
  const unused = meaningless.filter(says)
  if (unused.length > 0) notices.push(`${unused.map(name).join(', ')}: no effect, because nothing here depends on them`)
  const tars = (['web_tar_root', 'web_tar_root_val', 'web_tar_len'] as const).filter((key) => says(key))
  if (!keys.using_webtar && tars.length > 0)
    notices.push(`${tars.map(name).join(', ')}: no effect, because using_webtar is false`)
  if (keys.using_webtar && keys.data_args.lmdb_dirs)
    notices.push('"data_args": no effect, because using_webtar is true')
  notices.push(...imageNotices(given))
  if (says('web_tar_len_val'))
    notices.push(`${name('web_tar_len_val')} has no effect: all images of web_tar_root_val are validated on`)
  const own = saidByBase.filter(says)
  if (kind === 'sampler' && own.length > 0)
    notices.push(
      `${own.map(name).join(', ')}: no effect on a sampler head, whose model comes whole from ${name('pretrained_ckpt')}`,
    )
  return notices
}

/** What is still to be given before pictures are there, or left out. */
function imageNotices(given: Given): string[] {
  const { keys, says, name } = given
  const [key, flag] = keys.using_webtar ? ['web_tar_root', 'web_tar_root'] : ['data_args.lmdb_dirs', 'lmdb_dirs']
  const images = keys.using_webtar ? keys.web_tar_root : (keys.lmdb_dirs ?? keys.data_args.lmdb_dirs)
  const enabled = discards.filter((discard) => keys[discard])
  const lists = keys.discard_list ?? []
  const scores = keys.reward ?? []
  return [
    ...(images?.length ? [] : [`"${key}" names no images: training needs --${flag} FOLDER`]),
    ...(enabled.length > 0 && lists.length === 0
      ? [
          `${enabled.map(name).join(', ')}: nothing is discarded without lists of pictures: give them by --discard_list FILE`,
        ]
      : []),
    ...(enabled.length === 0 && lists.length > 0
      ? [`${name('discard_list')}: no effect, because ${discards.join(', ')} are false`]
      : []),
    ...(says('reward_thre') && scores.length === 0
      ? [`${name('reward_thre')}: nothing is left out without scores of pictures: give them by --reward FOLDER`]
      : []),
  ]
}

/** The checkpoint from which the reference would resume in this folder. */
function newestCheckpoint(folder: string): string | undefined {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return undefined
  const files = readdirSync(folder).filter((name) => /^ar-ckpt.*\.pth$/.test(name))
  const dated = files.map((name) => join(folder, name)).map((file) => ({ file, time: statSync(file).mtimeMs }))
  return dated.sort((a, b) => b.time - a.time)[0]?.file
}

/**
 * The run that a configuration of the reference implementation describes.
 * @throws ERR_CONFIG naming the key, its value and what there is instead
 */
export function translate(given: Given, kind: PublishedKind): Translation {
  const { keys } = given
  if (!keys.from_scratch)
    throw refuse(
      given,
      'from_scratch',
      'which would zero the output of cross-attention for weights of a model without text: start from weights of a STAR model, and set it to true',
    )
  checkText(given)
  const scales = scalesOf(given)
  const data = dataOf(given, scales)
  const common = {
    kind,
    name: nameOf(given, data.resolution as number),
    runFolder: keys.local_out_dir_path,
    seed: keys.seed ?? 0,
    data,
    optimizer: optimizerOf(given, kind),
    precision: (['f32', 'f16', 'bf16'] as const)[keys.fp16],
    work: workOf(given),
    init: initOf(given),
    textDropout: keys.classifier_free_training_prob,
  }
  const run = kind === 'transformer' ? transformerRun(given, common, scales) : samplerRun(given, common, scales)
  const underWay = newestCheckpoint(keys.local_out_dir_path)
  if (underWay) run.start = { weights: underWay, optimizer: 'resume' }
  return { run, notices: noticesOf(given, kind) }
}
