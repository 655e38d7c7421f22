/**
 * Leaving out tokens of the finest scales while sampling (FastVAR, Guo et al. 2025, arXiv 2503.23367): in each branch of a block the
 * tokens that differ most from their mean are computed, and the others take what the branch gave at a coarser scale, resized.
 */
import { StarError } from '../../native/index.js'
import {
  areaPool,
  gatherRows,
  keep,
  reshape,
  rowDistances,
  scatterRows,
  slice,
  Tensor,
  topPositions,
} from '../../tensor/index.js'
import type { Grid } from '../grid.js'
import type { Level, StarConfig } from './config.js'

/** Which tokens are left out. */
export interface Pruning {
  /** Index of the scale whose branches' outputs stand in, resized, for tokens that are not computed. */
  from: number
  /** Share of the tokens that is computed at each of the scales after it, in order; scales after those are computed whole. */
  keep: readonly number[]
  /** First and last block that tokens are left out of; default: all. */
  blocks?: readonly [number, number]
}

/** A branch of a block: of all tokens, or of those at `positions` (B, k) of the scale. (B, n, C) → (B, n, C). */
export type Branch = (x: Tensor, positions: Tensor | null) => Tensor

/** How the branches of a block are computed at a scale; `which` of them: self-attention, cross-attention, feed-forward. */
export interface BranchRule {
  run(which: number, x: Tensor, branch: Branch): Tensor
}

/** All tokens. */
export const wholeBranches: BranchRule = { run: (_, x, branch) => branch(x, null) }

/** Number of tokens of n that are computed. */
export const keptTokens = (n: number, share: number): number => Math.max(1, Math.round(n * share))

/** Share of the tokens that a block computes at a scale. */
export function keptShare({ from, keep: shares, blocks }: Pruning, scale: number, block: number): number {
  if (blocks && (block < blocks[0] || block > blocks[1])) return 1
  return scale > from ? (shares[scale - from - 1] ?? 1) : 1
}

/** @throws ERR_CONFIG for scales or blocks that the model has not */
export function checkPruning({ from, keep: shares, blocks = [0, 0] }: Pruning, config: StarConfig): void {
  const { patchNums, depth } = config
  if (from + shares.length >= patchNums.length)
    throw new StarError(
      'ERR_CONFIG',
      `pruning from scale ${from} on with shares of ${shares.length} scales after it, but the model has ${patchNums.length} scales, 0 to ${patchNums.length - 1}`,
    )
  if (blocks[0] > blocks[1] || blocks[1] >= depth)
    throw new StarError(
      'ERR_CONFIG',
      `pruning of blocks ${blocks.join(' to ')}, expected the first and the last one of 0 to ${depth - 1}`,
    )
}

/** The branches' outputs at the scale that later ones are filled from, for all blocks; the memory is its own. */
export class BranchOutputs {
  /** By block and branch: (B, h·w, C). */
  readonly #outputs: readonly (readonly Tensor[])[]

  /** @param samples of each branch: self-attention, cross-attention (0 without), feed-forward */
  constructor(
    readonly pruning: Pruning,
    private readonly levels: readonly Level[],
    config: StarConfig,
    samples: readonly number[],
    options: { dtype: Tensor['dtype']; device?: string },
  ) {
    const { begin, end } = levels[pruning.from]
    const made: Tensor[][] = []
    try {
      for (let block = 0; block < config.depth; block++) {
        const branches: Tensor[] = []
        made.push(branches)
        const pruned = pruning.keep.some((_, j) => keptShare(pruning, pruning.from + 1 + j, block) < 1)
        if (pruned) for (const n of samples) branches.push(keep(Tensor.empty([n, end - begin, config.width], options)))
      }
    } catch (error) {
      for (const tensor of made.flat()) tensor.dispose()
      throw error
    }
    this.#outputs = made
  }

  /** How a block's branches are computed at a scale. */
  ruleOf(scale: number, block: number): BranchRule {
    const outputs = this.#outputs[block]
    if (outputs.length === 0) return wholeBranches
    const { pruning } = this
    if (scale === pruning.from)
      return {
        run: (which, x, branch) => {
          const y = branch(x, null)
          outputs[which].copyFrom(y)
          return y
        },
      }
    const share = keptShare(pruning, scale, block)
    if (share === 1) return wholeBranches
    const [from, to] = [this.levels[pruning.from], this.levels[scale]]
    return { run: (which, x, branch) => filled(x, branch, { stored: outputs[which], from, to, share }) }
  }

  dispose(): void {
    for (const tensor of this.#outputs.flat()) tensor.dispose()
  }
}

interface Stored {
  /** (B' ≥ B, tokens of `from`, C) */
  stored: Tensor
  from: Grid
  to: Grid
  share: number
}

/** A branch's output (B, h·w, C): computed for the tokens that differ most from their mean, else the stored one, resized. */
function filled(x: Tensor, branch: Branch, { stored, from, to, share }: Stored): Tensor {
  const [batch, length, width] = x.shape
  const mean = reshape(areaPool(reshape(x, [batch, to.rows, to.cols, width]), 1, 1), [batch, width])
  const positions = topPositions(rowDistances(x, mean), keptTokens(length, share)) // (B, k)
  const computed = branch(gatherRows(x, positions), positions) // (B, k, C)
  const earlier = reshape(slice(stored, 0, 0, batch), [batch, from.rows, from.cols, width])
  const y = reshape(areaPool(earlier, to.rows, to.cols), [batch, length, width])
  scatterRows(y, computed, positions)
  return y
}
