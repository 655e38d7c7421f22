/** CLIP's text model (Radford et al. 2021) in the layout of transformers' CLIPTextModel, as Stable Diffusion uses it. */
import { z } from 'zod'
import { Embedding, LayerNorm, type LayerOptions, Linear, Module } from '../../nn/index.js'
import { add, attention, geluErf, mul, reshape, scope, sigmoid, slice, Tensor } from '../../tensor/index.js'
import type { TextModel } from './encoder.js'

const activations = {
  /** x·Φ(x) */
  gelu: geluErf,
  /** x·sigmoid(1.702·x) */
  quick_gelu: (x: Tensor): Tensor => mul(x, sigmoid(mul(x, 1.702))),
}

/** config.json of a CLIPTextModel. Stable Diffusion 2.1: 1024 channels, 23 layers, 16 heads, 4096 hidden, gelu. */
export const clipTextSchema = z.object({
  model_type: z.literal('clip_text_model'),
  vocab_size: z.int().min(1),
  hidden_size: z.int().min(1),
  intermediate_size: z.int().min(1),
  num_hidden_layers: z.int().min(1),
  num_attention_heads: z.int().min(1),
  max_position_embeddings: z.int().min(2),
  hidden_act: z.enum(['gelu', 'quick_gelu']),
  layer_norm_eps: z.number().positive(),
})
export type ClipTextConfig = z.output<typeof clipTextSchema>

/** Sizes of the blocks of a text or an image model. */
export type ClipLayerConfig = Pick<
  ClipTextConfig,
  'hidden_size' | 'intermediate_size' | 'num_attention_heads' | 'hidden_act' | 'layer_norm_eps'
>

/** Pre-norm block: x += O·attention(Q·n, K·n, V·n) with n = LN(x), then x += W₂·act(W₁·LN(x)). */
export class ClipLayer extends Module {
  readonly #heads: number
  readonly #activation: (x: Tensor) => Tensor
  readonly attentionNorm: LayerNorm
  readonly query: Linear
  readonly key: Linear
  readonly value: Linear
  readonly project: Linear
  readonly outputNorm: LayerNorm
  readonly expand: Linear
  readonly reduce: Linear

  constructor(config: ClipLayerConfig, options: LayerOptions) {
    super()
    const { hidden_size: width, intermediate_size: hidden, layer_norm_eps: eps } = config
    const { device } = options
    this.#heads = config.num_attention_heads
    this.#activation = activations[config.hidden_act]
    this.attentionNorm = this.child('layer_norm1', new LayerNorm(width, { eps, device }))
    this.query = this.child('self_attn.q_proj', new Linear(width, width, options))
    this.key = this.child('self_attn.k_proj', new Linear(width, width, options))
    this.value = this.child('self_attn.v_proj', new Linear(width, width, options))
    this.project = this.child('self_attn.out_proj', new Linear(width, width, options))
    this.outputNorm = this.child('layer_norm2', new LayerNorm(width, { eps, device }))
    this.expand = this.child('mlp.fc1', new Linear(width, hidden, options))
    this.reduce = this.child('mlp.fc2', new Linear(hidden, width, options))
  }

  /**
   * @param x (B, T, W)
   * @param keyLimit i32 (T): query t sees the tokens before it and itself; null: all of them
   * @returns (B, T, W)
   */
  forward(x: Tensor, keyLimit: Tensor | null): Tensor {
    const [batch, length, width] = x.shape
    const perHead = [batch, length, this.#heads, width / this.#heads]
    const n = this.attentionNorm.forward(x)
    const [q, k, v] = [this.query, this.key, this.value].map((layer) => reshape(layer.forward(n), perHead))
    const mixed = reshape(attention(q, k, v, { scale: 1 / Math.sqrt(perHead[3]), keyLimit }), x.shape)
    const a = add(x, this.project.forward(mixed))
    return add(a, this.reduce.forward(this.#activation(this.expand.forward(this.outputNorm.forward(a)))))
  }
}

/** Parameter names are the released ones (`text_model.…`). */
export class ClipTextModel extends Module implements TextModel {
  readonly device: string
  readonly tokens: Embedding
  readonly positions: Embedding
  readonly layers: ClipLayer[]
  readonly norm: LayerNorm

  constructor(
    readonly config: ClipTextConfig,
    options: LayerOptions,
  ) {
    super()
    const { vocab_size, max_position_embeddings, hidden_size: width, layer_norm_eps: eps } = config
    this.tokens = this.child('text_model.embeddings.token_embedding', new Embedding(vocab_size, width, options))
    this.positions = this.child(
      'text_model.embeddings.position_embedding',
      new Embedding(max_position_embeddings, width, options),
    )
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, i) =>
      this.child(`text_model.encoder.layers.${i}`, new ClipLayer(config, options)),
    )
    this.norm = this.child('text_model.final_layer_norm', new LayerNorm(width, { eps, device: options.device }))
    this.device = this.tokens.weight.device
  }

  get width(): number {
    return this.config.hidden_size
  }

  /**
   * LN of what the layers make of token[id] + position[t]. A token sees no later one, so that padding, which stands at the
   * end, needs no mask.
   * @param ids i32 (B, T) @returns (B, T, W)
   */
  forward(ids: Tensor): Tensor {
    const length = ids.dim(1)
    const keyLimit = Tensor.from(
      Int32Array.from({ length }, (_, t) => t + 1),
      [length],
      { device: this.device },
    )
    let x = add(this.tokens.forward(ids), slice(this.positions.weight, 0, 0, length))
    for (const layer of this.layers) x = scope(() => layer.forward(x, keyLimit))
    return this.norm.forward(x)
  }
}
