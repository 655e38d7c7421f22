/** Models whose matrices are in 8 bits. */
import { weightTypes } from '../../nn/index.js'

/**
 * Types that a model draws in: int8 has the matrices of the blocks in 8 bits, a scale a row (`linearInt8`), and all else in
 * 16.
 */
export const modelTypes = [...weightTypes, 'int8'] as const
/** A type that a model draws in. */
export type ModelType = (typeof modelTypes)[number]

/** Whether a tensor of a transformer or sampler head, by its name, is in 8 bits where the model is. */
export const isBlockMatrix = (name: string): boolean =>
  /^(feat_extract_)?blocks\.\d+\.((cross_)?attn\.(mat_(qkv|kv|q)|proj)|ffn\.fc[12])\.weight$/.test(name)
