/** The training of a transformer. */
import { stepsOf } from '../../config/resolve.js'
import type { TokenData } from '../../data/token-data.js'
import type { RunSpec } from '../run-spec.js'
import { type TransformerRunConfig, transformerRunSchema } from './config.js'

export const transformerSpec: RunSpec<TransformerRunConfig, TokenData> = {
  title: 'transformer',
  command: {
    name: 'train',
    description: 'train a transformer on the tokens of a tokenizer',
    example: 'configs/emoji-64.json',
  },
  schema: transformerRunSchema,
  part: 'transformer',
  frozen: ['tokenizer'],
  source: ({ tokenizer }) => ({ name: tokenizer, options: {} }),
  deciding: { metric: 'Lm', more: false },
  resolve(config, stepsPerEpoch) {
    if (config.progressive?.warmupEpochs === undefined) return config
    const { warmupEpochs, ...progressive } = config.progressive
    const warmupSteps = stepsOf('progressive.warmupEpochs', warmupEpochs, stepsPerEpoch)
    return { ...config, progressive: { ...progressive, warmupSteps } }
  },
  load: () => import('./task.js'),
}
