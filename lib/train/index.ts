export {
  type RunConfig,
  runSchema,
  type SamplerRunConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from './config.js'
export { RunFolder } from './run-folder.js'
export type { Metrics } from './task.js'
export { Trainer, type TrainerOptions, type TrainStep } from './trainer.js'
