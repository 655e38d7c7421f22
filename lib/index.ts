/** Public interface of star-t2i. */

export { type AnimationFormat, type AnimationOptions, StarAnimation } from './animation.js'
export { StarAttention, type WordAttention } from './attention.js'
export { readPngText } from './data/png.js'
export { type ConnectOptions, type DistributedEnvironment, type Launcher, ProcessGroup } from './distributed/index.js'
export type { StarEditOptions, StarVaryOptions } from './edit-options.js'
export type { Box, Extend, MaskSource, PictureSource, PixelData } from './editing/index.js'
export type { StarInfo } from './engine/drawing-model.js'
export type { LoraInfo, LoraMode, LoraOption } from './engine/loras.js'
export { type ConfiguredPart, type ModelInfo, modelInfo, type PartInfo } from './engine/model-info.js'
export type { StarGenerateOptions, StarMorphOptions, StarScaleEvent } from './generate-options.js'
export {
  type GridOptions,
  type ImageFormat,
  ImageGrid,
  type ImageSettings,
  imageGrid,
  type Picture,
  StarImage,
} from './image.js'
export type { HubProgress } from './models/local.js'
export type { SourceOptions } from './models/source.js'
export type { CrossAttentionMode, ModelType, StarConfig } from './models/star/index.js'
export type { TokenizerConfig } from './models/tokenizer/index.js'
export { type ErrorCode, StarError } from './native/index.js'
export type { WeightType } from './nn/index.js'
export type { Prompt, WeightedPrompt } from './prompts.js'
export type { PictureSize, SamplingOptions, SpeedName, SpeedSettings, Speeds } from './sampling/index.js'
export { type LoadOptions, Star, type StarResult } from './star.js'
export type { DType } from './tensor/index.js'
export {
  type Metrics,
  type ResolvedRunConfig,
  type RunConfig,
  type RunFolder,
  type RunKind,
  Trainer,
  type TrainerOptions,
  type TrainStep,
} from './train/index.js'
export {
  type Conversion,
  type ConvertedTensor,
  type ConvertOptions,
  convertWeights,
  type FloatType,
} from './weights/convert.js'
export type { ElementType } from './weights/stored-tensor.js'
export type { StarAttentionOptions, StarWordEditOptions } from './word-options.js'
