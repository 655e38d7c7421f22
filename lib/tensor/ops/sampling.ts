/** Drawing tokens from logits. Nothing here is recorded on the tape. */
import { native } from '../../native/index.js'
import { Tensor } from '../tensor.js'

export interface FilterOptions {
  /** Keep logits ≥ the k-th largest; 0, the default, or V and more keep all. */
  topK?: number
  /**
   * After top-k, remove tokens whose cumulative probability from the smallest up is ≤ 1 − topP, the most probable
   * excepted; 0, the default, keeps all.
   */
  topP?: number
}

/**
 * One token a row: p = softmax(logits) after top-k, then top-p; the token is the number of v with cumsum(p)[v] ≤ u·Σ p.
 * @param logits (N, V)
 * @param uniform u (N), in [0, 1)
 * @returns ids i32 (N), and the probability (N) of each
 * @throws ERR_ARGUMENT for logits that are not numbers (on the CPU)
 */
export function draw(
  logits: Tensor,
  uniform: Tensor,
  { topK = 0, topP = 0 }: FilterOptions = {},
): { ids: Tensor; probability: Tensor } {
  const [ids, probability] = native.draw(logits.handle, uniform.handle, topK, topP)
  return { ids: new Tensor(ids), probability: new Tensor(probability) }
}

/** The probabilities (N, V) that `draw` draws from: 0 where a token is filtered out. */
export function filterProbabilities(logits: Tensor, { topK = 0, topP = 0 }: FilterOptions = {}): Tensor {
  return new Tensor(native.filterProbabilities(logits.handle, topK, topP))
}

export interface GumbelMixOptions extends FilterOptions {
  /** Multiplies the logits after filtering. */
  factor: number
  temperature: number
}

/**
 * A soft mix of codebook rows: softmax((logits·factor + noise)/temperature)·codebook over the tokens that top-k and top-p keep
 * (Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017).
 * @param logits (N, V)
 * @param noise Gumbel noise (N, V)
 * @param codebook (V, Z)
 * @returns (N, Z)
 */
export function gumbelMix(
  logits: Tensor,
  noise: Tensor,
  codebook: Tensor,
  { topK = 0, topP = 0, factor, temperature }: GumbelMixOptions,
): Tensor {
  return new Tensor(native.gumbelMix(logits.handle, noise.handle, codebook.handle, topK, topP, factor, temperature))
}

export interface UnmaskInput {
  /** Tokens fixed so far: i32 (N, l), changed in place. */
  ids: Tensor
  /** 1 where a token is fixed: u8 (N, l), changed in place. */
  known: Tensor
  /** Tokens drawn in this step: i32 (N, l). */
  drawn: Tensor
  /** (N, l): the highest are fixed first, the lowest position on a tie. */
  score: Tensor
  /** How many positions of a row are chosen. */
  fix: number
  /** Choose among all positions instead of the open ones; those that are fixed already stay as they are. */
  amongAll?: boolean
}

/** One step of stable sampling: the chosen open positions take their drawn tokens and become known. */
export function unmask({ ids, known, drawn, score, fix, amongAll = false }: UnmaskInput): void {
  native.unmask(ids.handle, known.handle, drawn.handle, score.handle, fix, amongAll)
}
