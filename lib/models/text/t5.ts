/** The encoder of T5 1.1 and FLAN-T5 (Raffel et al. 2020, Chung et al. 2022) in the layout of transformers' T5EncoderModel. */
import { z } from 'zod'
import { Embedding, type LayerOptions, Linear, Module, RmsNorm } from '../../nn/index.js'
import {
  add,
  affine,
  cast,
  embedding,
  matmul,
  mul,
  ones,
  permute,
  reshape,
  scope,
  softmax,
  Tensor,
} from '../../tensor/index.js'
import type { TextModel } from './encoder.js'

/** config.json of a T5 model. FLAN-T5-XL: 2048 channels, 24 layers, 32 heads of 64, 5120 hidden. */
export const t5Schema = z.object({
  model_type: z.literal('t5'),
  vocab_size: z.int().min(1),
  d_model: z.int().min(1),
  d_kv: z.int().min(1),
  d_ff: z.int().min(1),
  num_layers: z.int().min(1),
  num_heads: z.int().min(1),
  relative_attention_num_buckets: z.int().min(4).default(32),
  relative_attention_max_distance: z.int().min(2).default(128),
  layer_norm_epsilon: z.number().positive().default(1e-6),
  feed_forward_proj: z.literal('gated-gelu'),
})
export type T5Config = z.output<typeof t5Schema>

/**
 * Bucket of the distance from a query to a key (key − query). Half of the buckets are for keys behind the query. Of each half
 * the first half holds one distance each, the rest grows by equal ratios up to `maxDistance`; the last takes all beyond.
 */
export function relativeBucket(distance: number, buckets: number, maxDistance: number): number {
  const half = Math.floor(buckets / 2)
  const exact = Math.floor(half / 2)
  const size = Math.abs(distance)
  const ratio = Math.log(size / exact) / Math.log(maxDistance / exact)
  const within = size < exact ? size : Math.min(half - 1, exact + Math.floor(ratio * (half - exact)))
  return within + (distance > 0 ? half : 0)
}

/** x += O·softmax(Q·n·(K·n)ᵀ + bias)·V·n with n = RMS(x), no biases, scores unscaled. */
class T5Attention extends Module {
  readonly #heads: number
  readonly norm: RmsNorm
  readonly query: Linear
  readonly key: Linear
  readonly value: Linear
  readonly project: Linear

  constructor(config: T5Config, options: LayerOptions) {
    super()
    const { d_model: width, num_heads, d_kv, layer_norm_epsilon: eps } = config
    const inner = num_heads * d_kv
    this.#heads = num_heads
    this.query = this.child('SelfAttention.q', new Linear(width, inner, options))
    this.key = this.child('SelfAttention.k', new Linear(width, inner, options))
    this.value = this.child('SelfAttention.v', new Linear(width, inner, options))
    this.project = this.child('SelfAttention.o', new Linear(inner, width, options))
    this.norm = this.child('layer_norm', new RmsNorm(width, { eps, device: options.device }))
  }

  /** @param x (B, T, W) @param bias (H, T, T) or (B, H, T, T), added to the scores @returns (B, T, W) */
  forward(x: Tensor, bias: Tensor): Tensor {
    const [batch, length] = x.shape
    const n = this.norm.forward(x)
    const [q, k, v] = [this.query, this.key, this.value].map((layer) =>
      permute(reshape(layer.forward(n), [batch, length, this.#heads, -1]), [0, 2, 1, 3]),
    ) // (B, H, T, D)
    const weights = softmax(add(matmul(q, k, { transB: true }), bias)) // (B, H, T, T)
    const mixed = reshape(permute(matmul(weights, v), [0, 2, 1, 3]), [batch, length, -1]) // (B, T, H·D)
    return add(x, this.project.forward(mixed))
  }
}

/** x += O·(gelu(W₀·n) ⊙ W₁·n) with n = RMS(x), gelu in its tanh form (Shazeer 2020). */
class T5FeedForward extends Module {
  readonly norm: RmsNorm
  readonly gate: Linear
  readonly expand: Linear
  readonly reduce: Linear

  constructor({ d_model: width, d_ff: hidden, layer_norm_epsilon: eps }: T5Config, options: LayerOptions) {
    super()
    this.gate = this.child('DenseReluDense.wi_0', new Linear(width, hidden, options))
    this.expand = this.child('DenseReluDense.wi_1', new Linear(width, hidden, options))
    this.reduce = this.child('DenseReluDense.wo', new Linear(hidden, width, options))
    this.norm = this.child('layer_norm', new RmsNorm(width, { eps, device: options.device }))
  }

  forward(x: Tensor): Tensor {
    const n = this.norm.forward(x)
    return add(x, this.reduce.forward(mul(this.gate.forward(n, { gelu: true }), this.expand.forward(n))))
  }
}

/** Parameter names are the released ones. */
export class T5Encoder extends Module implements TextModel {
  readonly device: string
  readonly tokens: Embedding
  /** (buckets, H): what each head adds to the scores of keys at a distance, in all layers; it is stored with the first. */
  readonly distances: Embedding
  readonly blocks: { attention: T5Attention; feedForward: T5FeedForward }[]
  readonly norm: RmsNorm

  constructor(
    readonly config: T5Config,
    options: LayerOptions,
  ) {
    super()
    const layer = { ...options, bias: false }
    const { vocab_size, d_model: width, relative_attention_num_buckets: buckets, layer_norm_epsilon: eps } = config
    this.tokens = this.child('shared', new Embedding(vocab_size, width, options))
    this.distances = this.child(
      'encoder.block.0.layer.0.SelfAttention.relative_attention_bias',
      new Embedding(buckets, config.num_heads, options),
    )
    this.blocks = Array.from({ length: config.num_layers }, (_, i) => ({
      attention: this.child(`encoder.block.${i}.layer.0`, new T5Attention(config, layer)),
      feedForward: this.child(`encoder.block.${i}.layer.1`, new T5FeedForward(config, layer)),
    }))
    this.norm = this.child('encoder.final_layer_norm', new RmsNorm(width, { eps, device: options.device }))
    this.device = this.tokens.weight.device
  }

  get width(): number {
    return this.config.d_model
  }

  /**
   * RMS of what the blocks make of token[id].
   * @param ids i32 (B, T) @param mask u8 (B, T), 0 for padding, which no token sees @returns (B, T, W)
   */
  forward(ids: Tensor, mask: Tensor): Tensor {
    const bias = scope(() => this.#bias(mask))
    let x = this.tokens.forward(ids)
    for (const { attention, feedForward } of this.blocks)
      x = scope(() => feedForward.forward(attention.forward(x, bias)))
    return this.norm.forward(x)
  }

  /** (B, H, T, T): what is added to the scores, by distance and, far below all scores, for padding. */
  #bias(mask: Tensor): Tensor {
    const [batch, length] = mask.shape
    const {
      num_heads: heads,
      relative_attention_num_buckets: buckets,
      relative_attention_max_distance: far,
    } = this.config
    const table = Int32Array.from({ length: length * length }, (_, i) =>
      relativeBucket((i % length) - Math.floor(i / length), buckets, far),
    )
    const byPlace = embedding(this.distances.weight, Tensor.from(table, [length, length], { device: this.device }))
    const byHead = permute(byPlace, [2, 0, 1]) // (H, T, T)
    const below = reshape(affine(cast(mask, 'f32'), null, 1e9, 0, -1e9), [batch, 1, length]) // 0, or −1e9 for padding
    const column = ones([batch, heads * length, 1], { device: this.device })
    return add(reshape(matmul(column, below), [batch, heads, length, length]), byHead)
  }
}
