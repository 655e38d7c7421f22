/** The matrices of the blocks: what an optimizer of matrices (Muon) steps. */
import { isBlockMatrix } from './int8.js'

/**
 * How many matrices of equal height a weight of a transformer or a sampler head holds one below the other: queries, keys and
 * values, or keys and values, are three and two; 0 for what is no matrix between hidden layers: embeddings, projections of
 * tokens and text, the head, modulation, biases and scales.
 */
export function hiddenMatrices(name: string): number {
  if (!isBlockMatrix(name)) return 0
  if (name.endsWith('.mat_qkv.weight')) return 3
  return name.endsWith('.mat_kv.weight') ? 2 : 1
}
