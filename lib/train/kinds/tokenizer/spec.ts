/** The training of an image tokenizer. */
import type { Loaders } from '../../data/loaders.js'
import type { RunSpec } from '../run-spec.js'
import { type TokenizerRunConfig, tokenizerRunSchema } from './config.js'

export const tokenizerSpec: RunSpec<TokenizerRunConfig, Loaders> = {
  title: 'tokenizer',
  command: {
    name: 'train-tokenizer',
    description: 'train an image tokenizer',
    example: 'configs/emoji-64-tokenizer.json',
  },
  schema: tokenizerRunSchema,
  part: 'tokenizer',
  frozen: [],
  deciding: { metric: 'psnr', more: true },
  load: () => import('./task.js'),
}
