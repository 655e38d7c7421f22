/** Configurations with the keys and the kinds of values that the 11 files of the reference implementation hold. */

const scales256 = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
const scales512 = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]
const scales1024 = [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64]

/** What all files hold, with the values most of them have. */
const common = {
  ...{ data_args: { lmdb_dirs: [], lmdb_dirs_val: [] }, using_webtar: false, reward_thre: 0.0, vfast: 0, tfast: 0 },
  ...{ depth: 30, ini: -1, hd: 0.02, aln: 0.5, alng: 5e-5, fp16: 1, tblr: 1e-4, tlr: 1e-4, twd: 0.05, twde: 0 },
  ...{ tclip: 2.0, ls: 0.0, data_path: '/data/images', text_enc: 'clip', text_enc_path: '/weights/sd21' },
  ...{ ckpt_path: '/weights', local_out_dir_path: '/out', exp_name: 'text', bs: 512, batch_size: 0, glb_batch_size: 0 },
  ...{ ac: 1, ep: 10, wp: 0, wp0: 0.005, wpe: 0.01, sche: 'lin0', opt: 'adamw', afuse: true, saln: false, anorm: true },
  ...{ fuse: true, pn: scales256.join('_'), patch_size: 16, patch_nums: scales256, resos: null, data_load_reso: null },
  ...{ mid_reso: 1.125, drop_scale_length: null, classifier_free_training_prob: 0.1, hflip: false, workers: 3 },
  ...{ pg: 0.0, pg0: 4, pgwp: 0, tf32: true, device: 'cuda', default_label: 1000, seed: null },
  ...{ same_seed_for_all_ranks: 0, cfg: 4.0, instance_prompt: '/data/prompts.txt', val_it: 10000, print_every: 500 },
  ...{ infer_bsz: 16, enable_cross: true, rope_emb: true, lvl_emb: true, rope_norm: 64, rope_theta: 10000.0 },
  ...{ logit_norm: true, enable_discard: true, enable_discard_low: true, enable_discard_aesthetic: true },
  ...{ from_scratch: true, from_0: true, enable_fig_val: true },
}

const tars = { web_tar_root: [], web_tar_root_val: [''], web_tar_len: 40_000_000, web_tar_len_val: 1000 }
const later = { pretrained_ckpt: '/out/before/ar-ckpt-last.pth', prompt_length: [3, 2000], fuse: false }
const at = (scales: readonly number[]) => ({ pn: scales.join('_'), patch_nums: scales })

/** Name of the file → its content. */
export const referenceConfigs: Readonly<Record<string, Record<string, unknown>>> = {
  config_d16_ab: { ...common, depth: 16, rope_emb: false, enable_cross: false, rope_norm: 32, rope_theta: 100.0 },
  config_d16_ab_rope: { ...common, depth: 16, enable_cross: false, rope_norm: 32, rope_theta: 100.0 },
  config_d16_ab_cross_256: { ...common, depth: 16 },
  config_d16_ab_cross_t5: { ...common, depth: 16, text_enc: 't5', text_enc_path: '/weights/flan-t5-xl' },
  config_d30: { ...common, fp16: 0, ep: 1, val_it: 3000 },
  config_d30_stage1: { ...common, ...tars, using_webtar: true, web_tar_root: '/tars', prompt_length: [3, 2000], ep: 2 },
  config_d30_stage2_256: { ...common, ...later, ...tars, tlr: 5e-5, bs: 480, data_args: { lmdb_dirs: '/packs' } },
  config_d30_512: { ...common, ...later, ...tars, ...at(scales512), tlr: 5e-5, bs: 192, ep: 5, infer_bsz: 8 },
  config_d30_1024: { ...common, ...later, ...at(scales1024), tlr: 2e-5, bs: 64, ep: 5, drop_scale_length: 8800 },
  config_d30_samplev3: { ...common, ...later, ...tars, ...at(scales512), tlr: 1e-5, bs: 64, ep: 4, infer_bsz: 4 },
  config_d30_samplev3_1024: {
    ...{ ...common, ...later, ...tars, ...at(scales1024), tlr: 1e-5, bs: 64, ep: 5, print_every: 200 },
    ...{ infer_bsz: 2, val_it: 2000, using_webtar: true, web_tar_root_val: [] },
  },
}
