/** Checkpoints as PyTorch 1.13 wrote them, in both forms. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { openWeights } from '../../lib/weights/index.js'
import { testDevice as device, goldenFolder } from '../support/golden.js'

/** Name, type here, shape, and the begin of the SHA-256 of the elements, row-major, as torch.load gave them. */
type Expected = readonly [string, string, readonly number[], string]

const weights: Expected[] = [
  ['word_embed.weight', 'f32', [16, 4], 'd69ef2087c2563e8'],
  ['word_embed.bias', 'f32', [16], 'f11eeeea59f39711'],
  ['lvl_embed.weight', 'f32', [3, 16], '6e2b7ac2e2bf584c'],
  ['blocks.0.attn.scale_mul_1H11', 'f32', [1, 2, 1, 1], 'e76066cc359b2347'],
]
const nested: Expected[] = [
  ...weights.map(([name, ...rest]): Expected => [`trainer.var_wo_ddp.${name}`, ...rest]),
  ['trainer.vae_local.quantize.ema_vocab_hit_SV', 'f32', [3, 8], '2ea9ab9198d16380'],
  ['trainer.var_opt.optimizer.state.0.step', 'f32', [], 'fca31f1667a6aa1b'],
  ['trainer.var_opt.optimizer.state.0.exp_avg', 'f32', [16, 4], 'ffd5b507dc1d10a0'],
  ['trainer.var_opt.optimizer.state.0.exp_avg_sq', 'f32', [16, 4], 'f997b9f1340d2921'],
  ['mixed.h', 'f16', [5, 7], '0fc061c93d3546c6'],
  ['mixed.b', 'bf16', [5, 7], 'ccb4b46419ed1641'],
  // int64 in the file: the hash is that of the same numbers as int32.
  ['mixed.i', 'i32', [2, 3], 'cd9a54ed1f18bf97'],
  // Transposed, so its elements are not in the order of the storage.
  ['mixed.t', 'f32', [6, 4], 'e908de87072521f8'],
  ['mixed.flag', 'u8', [2], '47dc540c94ceb704'],
  // Rows and columns from the middle of a larger storage.
  ['mixed.view', 'f32', [3, 3], '9e64b2d23b2565ec'],
]

function contents(file: string, key?: string): Expected[] {
  using opened = openWeights(join(goldenFolder, file), { key })
  return opened.names.map((name) => {
    using tensor = opened.tensor(name, device)
    const bytes = new Uint8Array(tensor.data().buffer)
    return [name, tensor.dtype, tensor.shape, createHash('sha256').update(bytes).digest('hex').slice(0, 16)]
  })
}

t.test('a checkpoint in the zip form', async (t) => {
  t.same(contents('checkpoint.pth'), nested)
  using opened = openWeights(join(goldenFolder, 'checkpoint.pth'))
  t.strictSame(Object.fromEntries(opened.values), {
    epoch: 3,
    iter: 1234,
    'trainer.config.patch_nums.0': 1,
    'trainer.config.patch_nums.1': 2,
    'trainer.config.patch_nums.2': 3,
    'trainer.config.resos.0': 16,
    'trainer.config.resos.1': 32,
    'trainer.config.resos.2': 48,
    'trainer.config.label_smooth': 0,
    'trainer.config.prog_it': 7,
    'trainer.config.last_prog_si': -1,
    'trainer.config.first_prog': true,
    'trainer.var_opt.optimizer.param_groups.0.lr': 0.0001,
    'trainer.var_opt.optimizer.param_groups.0.betas.0': 0.9,
    'trainer.var_opt.optimizer.param_groups.0.betas.1': 0.95,
    'trainer.var_opt.optimizer.param_groups.0.params.0': 0,
    args: 'depth=2',
  })
})

t.test('the transformer inside it', async (t) => t.same(contents('checkpoint.pth', 'trainer.var_wo_ddp'), weights))

t.test('a state dict in the form before 1.6', async (t) => t.same(contents('state_dict_legacy.pth'), weights))
