/** MiniLM (Wang et al. 2020): a small BERT whose mean state is a sentence vector, as in all-MiniLM-L6-v2. */
import { join } from 'node:path'
import { StarError } from '../../native/index.js'
import { Embedding, LayerNorm, Linear, Module } from '../../nn/index.js'
import {
  add,
  attention,
  clamp,
  div,
  geluErf,
  matmul,
  ones,
  reshape,
  scope,
  slice,
  sqrt,
  square,
  type Tensor,
} from '../../tensor/index.js'
import { readSafetensors } from '../../weights/safetensors.js'
import { ModelTextEncoder, meanPooling, type Pooling, type TextModel } from './encoder.js'
import { type TextTokenizer, WordPieceTokenizer } from './tokenizer.js'

export interface BertConfig {
  vocab: number
  positions: number
  width: number
  layers: number
  heads: number
  hidden: number
  eps: number
}

/** The shape of all-MiniLM-L6-v2. */
export const miniLmL6: BertConfig = {
  vocab: 30522,
  positions: 512,
  width: 384,
  layers: 6,
  heads: 12,
  hidden: 1536,
  eps: 1e-12,
}

/** Post-norm block: a = LN(x + O·attention(Q·x, K·x, V·x)), y = LN(a + W₂·gelu(W₁·a)), with the erf form of gelu. */
class BertLayer extends Module {
  readonly query: Linear
  readonly key: Linear
  readonly value: Linear
  readonly project: Linear
  readonly attentionNorm: LayerNorm
  readonly expand: Linear
  readonly reduce: Linear
  readonly outputNorm: LayerNorm

  constructor(
    readonly config: BertConfig,
    device: string,
  ) {
    super()
    const { width, hidden, eps } = config
    const layer = { init: null, device }
    this.query = this.child('attention.self.query', new Linear(width, width, layer))
    this.key = this.child('attention.self.key', new Linear(width, width, layer))
    this.value = this.child('attention.self.value', new Linear(width, width, layer))
    this.project = this.child('attention.output.dense', new Linear(width, width, layer))
    this.attentionNorm = this.child('attention.output.LayerNorm', new LayerNorm(width, { eps, device }))
    this.expand = this.child('intermediate.dense', new Linear(width, hidden, layer))
    this.reduce = this.child('output.dense', new Linear(hidden, width, layer))
    this.outputNorm = this.child('output.LayerNorm', new LayerNorm(width, { eps, device }))
  }

  /** @param x (B, T, W) @param keyMask u8 (B, T) @returns (B, T, W) */
  forward(x: Tensor, keyMask: Tensor): Tensor {
    const [batch, length, width] = x.shape
    const perHead = [batch, length, this.config.heads, width / this.config.heads]
    const [q, k, v] = [this.query, this.key, this.value].map((layer) => reshape(layer.forward(x), perHead))
    const mixed = reshape(attention(q, k, v, { scale: 1 / Math.sqrt(perHead[3]), keyMask }), x.shape)
    const a = this.attentionNorm.forward(add(x, this.project.forward(mixed)))
    return this.outputNorm.forward(add(a, this.reduce.forward(geluErf(this.expand.forward(a)))))
  }
}

/** BERT's encoder without the pooling head; parameter names are the released ones. */
export class Bert extends Module implements TextModel {
  readonly words: Embedding
  readonly positions: Embedding
  readonly types: Embedding
  readonly norm: LayerNorm
  readonly layers: BertLayer[]

  constructor(
    readonly config: BertConfig,
    readonly device: string,
  ) {
    super()
    const { vocab, positions, width, eps } = config
    const layer = { init: null, device }
    this.words = this.child('embeddings.word_embeddings', new Embedding(vocab, width, layer))
    this.positions = this.child('embeddings.position_embeddings', new Embedding(positions, width, layer))
    this.types = this.child('embeddings.token_type_embeddings', new Embedding(2, width, layer))
    this.norm = this.child('embeddings.LayerNorm', new LayerNorm(width, { eps, device }))
    this.layers = Array.from({ length: config.layers }, (_, i) =>
      this.child(`encoder.layer.${i}`, new BertLayer(config, device)),
    )
  }

  get width(): number {
    return this.config.width
  }

  /**
   * x₀ = LN(word[id] + position[t] + type[0]), then the layers.
   * @param ids i32 (B, T) @param mask u8 (B, T), 0 for padding @returns (B, T, W)
   */
  forward(ids: Tensor, mask: Tensor): Tensor {
    const { width } = this.config
    const length = ids.dim(1)
    const place = add(slice(this.positions.weight, 0, 0, length), reshape(slice(this.types.weight, 0, 0, 1), [width]))
    let x = this.norm.forward(add(this.words.forward(ids), place))
    for (const layer of this.layers) x = scope(() => layer.forward(x, mask))
    return x
  }
}

export interface MiniLmOptions {
  device?: string
  /** Tokens a prompt is padded or cut to, [CLS] and [SEP] included. */
  maxLength?: number
}

/** The mean state, divided by its L2 norm. */
const sentencePooling: Pooling = (states, batch) => {
  const mean = meanPooling(states, batch)
  const norm = sqrt(matmul(square(mean), ones([mean.dim(1), 1], { device: mean.device }))) // (B, 1)
  return div(mean, clamp(norm, 1e-12, Infinity))
}

/** The text encoder of the small models; `pooled` is the sentence vector of all-MiniLM-L6-v2. */
export class MiniLmEncoder extends ModelTextEncoder<Bert> {
  constructor(model: Bert, tokenizer: TextTokenizer, { maxLength = 64 }: MiniLmOptions = {}) {
    super(model, tokenizer, { name: 'minilm-l6', maxLength, pooling: sentencePooling })
    if (!Number.isInteger(maxLength) || maxLength < 2 || maxLength > model.config.positions)
      throw new StarError(
        'ERR_ARGUMENT',
        `MiniLmEncoder: maxLength is ${maxLength}, expected a whole number from 2 to ${model.config.positions}`,
      )
  }

  /**
   * Reads `model.safetensors` and `vocab.txt` of a folder (models/minilm-l6).
   * @throws ERR_FILE when one is missing or damaged, ERR_SHAPE when the weights are another model's
   */
  static load(folder: string, options: MiniLmOptions = {}): MiniLmEncoder {
    const tokenizer = WordPieceTokenizer.fromFile(join(folder, 'vocab.txt'))
    const { tensors } = readSafetensors(join(folder, 'model.safetensors'))
    const model = scope(() => new Bert(miniLmL6, options.device ?? 'cpu'))
    try {
      model.load(tensors)
      return new MiniLmEncoder(model.setTrainable(false), tokenizer, options)
    } catch (error) {
      model.dispose()
      throw error
    } finally {
      for (const tensor of tensors.values()) tensor.dispose()
    }
  }
}
