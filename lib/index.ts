/** Public interface of star-t2i. */

export { type ConnectOptions, type DistributedEnvironment, ProcessGroup } from './distributed/index.js'
export { type GridOptions, ImageGrid, type ImageSettings, imageGrid, StarImage } from './image.js'
export { type ModelInfo, modelInfo, type PartInfo } from './model-info.js'
export type { HubProgress } from './models/local.js'
export type { SourceOptions } from './models/source.js'
export { type ErrorCode, StarError } from './native/index.js'
export type { SampleVersion, SamplingOptions, SamplingSettings } from './sampling/index.js'
export {
  type LoadOptions,
  Star,
  type StarGenerateOptions,
  type StarResult,
  type StarScaleEvent,
} from './star.js'
export { type Metrics, type RunConfig, Trainer, type TrainerOptions, type TrainStep } from './train/index.js'
export { type Conversion, type ConvertOptions, convertWeights } from './weights/convert.js'
