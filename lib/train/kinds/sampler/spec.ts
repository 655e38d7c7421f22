/** The training of a sampler head on a frozen model. */
import { baseSource } from '../../config/base.js'
import type { TokenData } from '../../data/token-data.js'
import type { RunSpec } from '../run-spec.js'
import { type SamplerRunConfig, samplerRunSchema } from './config.js'

export const samplerSpec: RunSpec<SamplerRunConfig, TokenData> = {
  title: 'sampler head',
  command: {
    name: 'train-sampler',
    description: 'train a sampler head on a trained model',
    example: 'configs/config_d30_samplev3_1024.json',
  },
  schema: samplerRunSchema,
  part: 'sampler-head',
  frozen: ['tokenizer', 'transformer'],
  source: baseSource,
  deciding: { metric: 'Lopen', more: false },
  load: () => import('./task.js'),
}
