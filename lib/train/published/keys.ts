/**
 * The keys of the configuration files of the reference implementation, by their own names: what each may hold, and what stands
 * for it where it is missing. `translate.ts` turns them into ours, `counterparts.ts` says so in words.
 */
import { z } from 'zod'
import { publishedScales } from '../../models/star/index.js'
import { schedulePattern } from '../../optim/index.js'

const flag = z.union([z.boolean(), z.literal([0, 1])]).transform(Boolean)
const count = z.int().min(1)
const part = z.number().min(0).max(1)
const path = z.string().min(1)
/** One or several; empty texts, which its files hold where a value is to be filled in, count as none. */
const paths = z
  .union([z.string(), z.array(z.string())])
  .transform((given) => [given].flat().filter((text) => text !== ''))
const pathOrNone = z.string().nullish()

/** "1_2_3", "1-2-3", a list, or the side of the published pictures: 256, 512 or 1024. */
const scales = z.union([z.string(), z.int(), z.array(count).min(1)]).transform((given, context): number[] => {
  if (Array.isArray(given)) return given
  const published = publishedScales.get(Number(given))
  if (published) return [...published]
  const sides = String(given).split(/[_\-,\s]+/)
  if (typeof given === 'string' && sides.every((side) => /^[1-9]\d*$/.test(side))) return sides.map(Number)
  context.addIssue({
    code: 'custom',
    message: `${JSON.stringify(given)} is no list of scales, expected sides such as "1_2_3_4_6_8", or 256, 512 or 1024`,
  })
  return z.NEVER
})

const model = {
  depth: count.describe('number of blocks; width is 64·depth, with as many heads as blocks'),
  pn: scales.optional().describe('sides of the token maps, "1_2_3_4_5_6_8_10_13_16" by default, or 256, 512 or 1024'),
  patch_nums: scales.optional().describe('the same as pn, as a list'),
  patch_size: count
    .default(16)
    .describe('pixels a side of a token of the last scale; times its side it is the resolution'),
  resos: z.array(count).nullish().describe('sides in pixels of all scales; computed from pn and patch_size'),
  saln: flag.prefault(false).describe('shared AdaLN'),
  anorm: flag.prefault(true).describe('queries and keys normalised'),
  rope_emb: flag.prefault(true).describe('rotary positions; otherwise they are learnt'),
  rope_norm: z.number().positive().default(64).describe('coordinate of the last row and column of every scale'),
  rope_theta: z.number().positive().default(10000).describe('base of the rotations’ frequencies'),
  lvl_emb: flag.prefault(true).describe('a learnt vector per scale'),
  logit_norm: flag.prefault(true).describe('LayerNorm before the head'),
  enable_cross: flag.prefault(true).describe('cross-attention to the text'),
  ini: z.number().default(-1).describe('standard deviation of first values; negative: √(1/3C)'),
  hd: z.number().default(0.02).describe('factor on the first weight of the head; negative: none'),
  aln: z.number().min(0).default(0.5).describe('factor on the first scales and shifts of AdaLN'),
  alng: z.number().min(0).default(5e-5).describe('factor on the first gains of AdaLN'),
}

const text = {
  text_enc: z.enum(['clip', 't5']).default('clip').describe('kind of the text encoder'),
  text_enc_path: path.describe('folder of the text encoder, or its name on Hugging Face'),
  prompt_length: z
    .union([count, z.tuple([z.int().min(0), count])])
    .optional()
    .describe('[least, most] characters of a caption that is trained on; or the encoder’s number of tokens'),
  classifier_free_training_prob: part.default(0.1).describe('chance that a long prompt becomes ""'),
}

const data = {
  data_args: z
    .strictObject({
      lmdb_dirs: paths.optional().describe('packs to train on, or folders of packs'),
      lmdb_dirs_val: paths.optional().describe('packs to validate on'),
    })
    .prefault({})
    .describe('where the packs are'),
  lmdb_dirs: paths
    .optional()
    .describe('in place of data_args.lmdb_dirs, as a flag (not of the reference implementation)'),
  lmdb_dirs_val: paths.optional().describe('in place of data_args.lmdb_dirs_val, likewise'),
  data_path: pathOrNone.describe('folder of the data'),
  data_load_reso: z.int().nullish().describe('side of the images; computed from pn and patch_size'),
  mid_reso: z.number().optional().describe('size of images before they are cropped, over their size after it'),
  reward_thre: z.number().default(0).describe('pictures with a reward score at or below it are left out'),
  reward: paths.optional().describe('folders or files with reward scores (not of the reference implementation)'),
  enable_discard: flag.prefault(false).describe('leaves out the pictures of a list of discarded ones'),
  enable_discard_low: flag.prefault(false).describe('leaves out the pictures of a list with low rewards'),
  enable_discard_aesthetic: flag
    .prefault(false)
    .describe('leaves out the pictures of a list with low aesthetic scores'),
  discard_list: paths.optional().describe('files of those lists (not of the reference implementation)'),
  using_webtar: flag.prefault(false).describe('images come from WebDataset tars instead of packs'),
  web_tar_root: paths.optional().describe('tars to train on, or folders of tars'),
  web_tar_root_val: paths.optional().describe('tars to validate on'),
  web_tar_len: count.optional().describe('images that make an epoch of the tars'),
  web_tar_len_val: count.optional().describe('images of the tars to validate on'),
  hflip: flag.prefault(false).describe('half of the images mirrored'),
  workers: z.int().min(-1).default(0).describe('threads that decode images; 0 chooses'),
}

const training = {
  bs: count.describe('images a step, of all processes and micro-batches together'),
  ac: count.default(1).describe('micro-batches a step'),
  ep: z.number().positive().describe('epochs'),
  opt: z.string().default('adamw').describe('optimizer: adamw, which the reference implementation also takes for adam'),
  batch_size: z.int().min(0).optional().describe('images a micro-batch of a process; computed: bs/ac/processes'),
  glb_batch_size: z.int().min(0).optional().describe('images a micro-batch of all processes; computed: bs/ac'),
  tlr: z.number().positive().nullish().describe('peak learning rate; without it ac·tblr·glb_batch_size/5120'),
  tblr: z
    .number()
    .positive()
    .default(1e-4)
    .describe('peak learning rate for 5120 images a step, where there is no tlr'),
  sche: z
    .string()
    .regex(schedulePattern)
    .default('lin0')
    .describe('schedule: cos, exp, lin, lin0, lin00, lin and a number'),
  wp: z.number().min(0).default(0).describe('epochs of warm-up; 0: a fiftieth of ep'),
  wp0: part.default(0.005).describe('learning rate at the first step over the peak'),
  wpe: part.default(0.01).describe('learning rate at the last step over the peak'),
  twd: z.number().min(0).default(0.05).describe('weight decay at the start'),
  twde: z.number().min(0).default(0).describe('weight decay at the end; 0: twd'),
  tclip: z.number().default(2).describe('largest gradient norm; 0 or less: no clipping'),
  ls: z.number().min(0).lt(1).default(0).describe('label smoothing'),
  fp16: z.literal([0, 1, 2]).default(0).describe('0: f32, 1: f16 with loss scaling, 2: bf16'),
  pg: part.default(0).describe('part of the training that is progressive; then sche is lin and this number'),
  pg0: z.int().min(0).default(4).describe('finest scale at the start of progressive training, the first being 0'),
  pgwp: z.number().min(0).default(0).describe('epochs over which a new scale gains its full weight; 0: a 300th of ep'),
  drop_scale_length: count.nullish().describe('tokens a step keeps; those of the scales from index 13 on are dropped'),
  seed: z.int().min(0).nullish().describe('of everything random'),
  same_seed_for_all_ranks: z.int().min(0).default(0).describe('seed of the order of images'),
}

const start = {
  ckpt_path: path.describe('folder of the tokenizer, vae_ch160v4096z32.pth'),
  pretrained_ckpt: path
    .nullish()
    .describe('weights to start from; with train-sampler: the model that is kept as it is'),
  from_scratch: flag
    .default(true)
    .describe('false zeroes the output of cross-attention in the weights that were loaded'),
  from_0: flag.prefault(true).describe('whether epochs are counted from 0 after pretrained_ckpt'),
}

const work = {
  exp_name: path.optional().describe('name of the run and of its model'),
  local_out_dir_path: path.describe('folder of the run'),
  val_it: count.optional().describe('micro-batches between checkpoints with sample pictures'),
  print_every: count.optional().describe('lines of the log an epoch'),
  instance_prompt: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe('prompts of the sample pictures: a text file with one a line, or a list of them'),
  enable_fig_val: flag.prefault(true).describe('sample pictures during training'),
  infer_bsz: count.optional().describe('sample pictures drawn at once'),
  default_label: z.int().optional().describe('label of sample pictures, for models of classes'),
  cfg: z.number().min(0).default(4).describe('guidance of the sample pictures and of the model'),
}

const machine = {
  device: z.string().optional().describe('where it runs'),
  tf32: flag.optional().describe('rounds f32 products on a GPU'),
  vfast: z.int().optional().describe('compilation of the tokenizer'),
  tfast: z.int().optional().describe('compilation of the transformer'),
  fuse: flag.optional().describe('fused attention and layers'),
  afuse: flag.optional().describe('fused AdamW'),
  local_rank: z.int().optional().describe('set by torch.distributed.launch'),
}

export const publishedSchema = z.strictObject({
  ...model,
  ...text,
  ...data,
  ...training,
  ...start,
  ...work,
  ...machine,
})

export type PublishedConfig = z.output<typeof publishedSchema>
export type PublishedKey = keyof PublishedConfig

/** Keys of one value: those that the command line takes as flags. */
export const publishedFlags = (Object.keys(publishedSchema.shape) as PublishedKey[]).filter(
  (key) => key !== 'data_args',
)
