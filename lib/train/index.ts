export {
  type RunConfig,
  runSchema,
  type SamplerRunConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from './config/run.js'
export type { Metrics } from './kinds/task.js'
export { RunFolder } from './run-folder/run-folder.js'
export { Trainer, type TrainerOptions, type TrainStep } from './trainer.js'
