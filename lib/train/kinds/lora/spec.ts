/** The training of a LoRA on a frozen model. */
import { baseSource } from '../../config/base.js'
import type { RunSpec } from '../run-spec.js'
import { type LoraRunConfig, loraRunSchema } from './config.js'
import type { LoraData } from './task.js'

export const loraSpec: RunSpec<LoraRunConfig, LoraData> = {
  title: 'LoRA',
  command: {
    name: 'train-lora',
    description: 'fine-tune a trained model on a few images, as a LoRA',
    example: 'configs/emoji-64-lora.json',
  },
  schema: loraRunSchema,
  part: null,
  frozen: [],
  source: baseSource,
  deciding: { metric: 'Lm', more: false },
  load: () => import('./task.js'),
}
