/** A transformer block: self-attention, cross-attention to the text, feed-forward, each a residual branch. */
import { Linear, Module } from '../../nn/index.js'
import { add, embedding, feedForward, layerNorm, mul, reshape, scope, slice, type Tensor } from '../../tensor/index.js'
import { CrossAttention, SelfAttention, type SelfAttentionContext, type TextKeysValues } from './attention.js'
import type { CrossAttentionMode, StarConfig } from './config.js'
import { type BlockFactors, scaleSamples } from './drop-path.js'
import { baseStd, branchStd, type ModelInit, modulationParameter } from './init.js'
import { type BranchRule, wholeBranches } from './pruning.js'

/** y = W₂·gelu(W₁·x + b₁) + b₂ with the tanh form of GELU. */
export class FeedForward extends Module {
  readonly fc1: Linear
  readonly fc2: Linear

  constructor({ width, depth, mlpRatio }: StarConfig, init: ModelInit) {
    super()
    const hidden = Math.round(width * mlpRatio)
    this.fc1 = this.child('fc1', new Linear(width, hidden, { ...init, std: baseStd(width, init) }))
    this.fc2 = this.child('fc2', new Linear(hidden, width, { ...init, std: branchStd(width, depth, init) }))
  }

  forward(x: Tensor): Tensor {
    if (!this.fc1.plain || !this.fc2.plain) return this.fc2.forward(this.fc1.forward(x, { gelu: true }))
    return feedForward(x, { w1: this.fc1.weight, b1: this.fc1.bias, w2: this.fc2.weight, b2: this.fc2.bias })
  }
}

/** The six vectors of shared AdaLN for the tokens at hand, (length, C) each or (1, C) where one scale's row serves all. */
interface Modulation {
  gains: [Tensor, Tensor]
  scales: [Tensor, Tensor]
  shifts: [Tensor, Tensor]
}

/** What a block needs beside its input. */
export interface BlockContext extends SelfAttentionContext {
  /** The text of each sample, or of the first ones alone in the mode `first-sample`; null without cross-attention. */
  text: TextKeysValues | null
  /** Shared AdaLN: c(level), (rows, 6C), and the row of each token, i32 (length); no ids: all tokens use the only row. */
  condition: { table: Tensor; ids: Tensor | null } | null
  /** Stochastic depth of this block; null: every branch runs. */
  dropPath: BlockFactors | null
  /** Sampling: which tokens of each branch are computed; default: all. */
  branches?: BranchRule
  /** Told how much each token attends to each of the text (`CrossAttention.weights`); the tensor is the block's. */
  onAttention?: (weights: Tensor) => void
}

/**
 * x += droppath(γ1·attn(LN(x)·(1+s1)+b1)); x += cross_attn(LN(x), text); x += droppath(γ2·ffn(LN(x)·(1+s2)+b2)).
 * LN has no parameters, eps 1e-6. Without sharedAdaLN γ = 1 and s = b = 0.
 */
export class Block extends Module {
  readonly modulation: Tensor | null
  readonly attention: SelfAttention
  readonly cross: CrossAttention | null
  readonly feedForward: FeedForward

  constructor(
    readonly config: StarConfig,
    init: ModelInit,
  ) {
    super()
    this.modulation = config.sharedAdaLN ? this.param('ada_gss', modulationParameter(config.width, init)) : null
    this.attention = this.child('attn', new SelfAttention(config, init))
    this.cross = config.enableCross ? this.child('cross_attn', new CrossAttention(config, init)) : null
    this.feedForward = this.child('ffn', new FeedForward(config, init))
  }

  forward(input: Tensor, context: BlockContext): Tensor {
    const m = this.#modulate(context.condition)
    const rule = context.branches ?? wholeBranches
    // A scope a branch: what one of them made is gone before the next one, unless the tape keeps it.
    let x = scope(() => {
      const attend = (x: Tensor, positions: Tensor | null): Tensor =>
        gained(this.attention.forward(normalise(x, m, 0), { ...context, positions }), m, 0)
      return addBranch(input, rule.run(0, input, attend), context.dropPath?.[0])
    })
    const { cross } = this
    const { text, onAttention } = context
    if (cross && text) {
      const from = x
      x = scope(() => addCross(from, cross, text, { mode: this.config.crossAttention, rule, onAttention }))
    }
    const from = x
    return scope(() => {
      const feed = (x: Tensor): Tensor => gained(this.feedForward.forward(normalise(x, m, 1)), m, 1)
      return addBranch(from, rule.run(2, from, feed), context.dropPath?.[1])
    })
  }

  #modulate(condition: BlockContext['condition']): Modulation | null {
    if (!this.modulation || !condition) return null
    const rows = condition.table.dim(0)
    const width = this.config.width
    const table = reshape(add(condition.table, reshape(this.modulation, [6 * width])), [rows, 6, width])
    const row = (i: number): Tensor => {
      const own = reshape(slice(table, 1, i, i + 1), [rows, width])
      return condition.ids ? embedding(own, condition.ids) : reshape(own, [width])
    }
    return { gains: [row(0), row(1)], scales: [row(2), row(3)], shifts: [row(4), row(5)] }
  }
}

const gained = (branch: Tensor, m: Modulation | null, which: 0 | 1): Tensor =>
  m ? mul(branch, m.gains[which]) : branch

const addBranch = (x: Tensor, branch: Tensor, factors: BlockFactors[0] | undefined): Tensor =>
  add(x, factors ? scaleSamples(branch, factors) : branch)

function normalise(x: Tensor, m: Modulation | null, which: 0 | 1): Tensor {
  return m ? layerNorm(x, { scale: m.scales[which], shift: m.shifts[which] }) : layerNorm(x)
}

/**
 * x + cross_attn(LN(x), text). The mode `first-sample` computes the first samples alone, as many as there are texts g, and adds
 * sample i mod g to sample i; the reference implementation has g = 1: sample 0 is added to every sample.
 */
function addCross(
  x: Tensor,
  cross: CrossAttention,
  text: TextKeysValues,
  {
    mode,
    rule,
    onAttention,
  }: { mode: CrossAttentionMode; rule: BranchRule; onAttention?: BlockContext['onAttention'] },
): Tensor {
  const attend = (x: Tensor): Tensor => {
    const normal = layerNorm(x)
    onAttention?.(cross.weights(normal, text))
    return cross.forward(normal, text)
  }
  if (mode === 'per-sample') return add(x, rule.run(1, x, attend))
  const [batch, length, width] = x.shape
  const attending = text.k.dim(0)
  const first = rule.run(1, slice(x, 0, 0, attending), attend) // (g, n, C)
  if (attending === batch) return add(x, first)
  const rounds = reshape(x, [batch / attending, attending * length, width])
  return reshape(add(rounds, reshape(first, [attending * length, width])), x.shape)
}
