/** The training of a palette. */
import type { Loaders } from '../../../lib/train/data/loaders.js'
import type { RunSpec } from '../../../lib/train/kinds/run-spec.js'
import { type PaletteConfig, paletteSchema } from './config.js'

export const paletteSpec: RunSpec<PaletteConfig, Loaders> = {
  title: 'palette',
  command: { name: 'train-palette', description: 'train a palette', example: 'palette.json' },
  schema: paletteSchema,
  part: 'tokenizer',
  frozen: [],
  deciding: { metric: 'distance', more: false },
  load: () => import('./task.js'),
}
