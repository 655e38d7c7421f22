/** Self-attention over the tokens of all scales, and cross-attention to the text. */
import { Linear, Module } from '../../nn/index.js'
import {
  add,
  affine,
  attention,
  cast,
  concat,
  embedding,
  full,
  matmul,
  permute,
  reshape,
  slice,
  softmax,
  splitHeads,
  Tensor,
  writeAlong,
  writeHeads,
  zeros,
} from '../../tensor/index.js'
import type { StarConfig } from './config.js'
import { baseStd, branchStd, logScaleParameter, type ModelInit } from './init.js'

/** Keys and values made ready for attention: (B, capacity, H, D) each. */
export interface KeysValues {
  k: Tensor
  v: Tensor
}

/** A cache for all L tokens of a generation, and how many of them are already in it. */
export interface KeyValueCache extends KeysValues {
  length: number
}

/** What self-attention needs beside its input. */
export interface SelfAttentionContext {
  /** Rotation of the tokens at hand: (length, D/2, 2). */
  rope: Tensor | null
  /** Training: token i sees keys j < keyLimit[i], the end of its scale. i32 (L). */
  keyLimit?: Tensor | null
  /** Sampling: keys and values of earlier scales; those of this one are added to it. Takes the place of keyLimit. */
  cache?: KeyValueCache | null
  /** With a cache: the tokens at hand are those at these positions of `rope`, i32 (B, length), not all in their order. */
  positions?: Tensor | null
  /**
   * Sampler head: token 0 sees and is seen by all; the others, in groups of tokens [begin, end), see their own group. The
   * groups follow one another from token 1 on. Takes the place of keyLimit.
   */
  groups?: readonly { begin: number; end: number }[]
}

interface HeadOptions {
  heads: number
  headSize: number
  l2Norm: boolean
  /** Factor on q·k before the softmax: 1 under l2Norm, where the learnt scale stands in, else 0.25/√D. */
  scale: number
}

const headOptions = ({ width, heads, attnL2Norm }: StarConfig): HeadOptions => ({
  heads,
  headSize: width / heads,
  l2Norm: attnL2Norm,
  scale: attnL2Norm ? 1 : 0.25 / Math.sqrt(width / heads),
})

/**
 * Attention of a token to its own and all earlier scales:
 * q, k, v = x·W_qkvᵀ + (q_bias, 0, v_bias); with l2Norm q ← q/‖q‖·exp(min(s, ln 100)) and k ← k/‖k‖; q and k rotated;
 * y = softmax(q·kᵀ·scale)·v, projected. x (B, length, C) → (B, length, C).
 */
export class SelfAttention extends Module {
  readonly logScale: Tensor | null
  readonly qBias: Tensor
  readonly vBias: Tensor
  readonly zeroKBias: Tensor
  readonly qkv: Linear
  readonly proj: Linear
  readonly #options: HeadOptions

  constructor(config: StarConfig, init: ModelInit) {
    super()
    const { width, depth, heads, attnL2Norm } = config
    this.#options = headOptions(config)
    this.logScale = attnL2Norm ? this.param('scale_mul_1H11', logScaleParameter(heads, init), { single: true }) : null
    this.qBias = this.param('q_bias', zeros([width], init))
    this.vBias = this.param('v_bias', zeros([width], init))
    this.zeroKBias = this.buffer('zero_k_bias', zeros([width], init))
    this.qkv = this.child('mat_qkv', new Linear(width, 3 * width, { ...init, std: baseStd(width, init), bias: false }))
    this.proj = this.child('proj', new Linear(width, width, { ...init, std: branchStd(width, depth, init) }))
  }

  forward(x: Tensor, { rope, keyLimit, cache, groups, positions }: SelfAttentionContext): Tensor {
    const { heads, l2Norm, scale } = this.#options
    const qkv = this.qkv.forward(x, { bias: concat([this.qBias, this.zeroKBias, this.vBias], 0) })
    const parts = [
      { l2Norm, logScale: this.logScale ?? undefined, rope: rope ?? undefined },
      { l2Norm, rope: rope ?? undefined },
      {},
    ]
    let y: Tensor
    if (cache && positions) {
      // Each sample has positions of its own: the samples are read as one with a rotation for each of its tokens.
      const tokens = positions.count
      const own =
        rope && reshape(embedding(reshape(rope, [rope.dim(0), -1]), reshape(positions, [tokens])), [tokens, -1, 2])
      const rotated = parts.map((part) => ('rope' in part ? { ...part, rope: own ?? undefined } : part))
      const [q, k, v] = splitHeads(reshape(qkv, [1, tokens, qkv.dim(2)]), heads, rotated).map((part) =>
        reshape(part, [x.dim(0), x.dim(1), heads, this.#options.headSize]),
      )
      writeAlong(cache.k, k, 1, cache.length)
      writeAlong(cache.v, v, 1, cache.length)
      cache.length += x.dim(1)
      y = attention(q, cache.k, cache.v, { scale, keys: cache.length })
    } else if (cache) {
      const q = Tensor.empty([x.dim(0), x.dim(1), heads, this.#options.headSize], {
        dtype: x.dtype,
        device: x.device,
      })
      writeHeads(qkv, heads, 3, 0, parts[0], q, 0)
      writeHeads(qkv, heads, 3, 1, parts[1], cache.k, cache.length)
      writeHeads(qkv, heads, 3, 2, parts[2], cache.v, cache.length)
      cache.length += x.dim(1)
      y = attention(q, cache.k, cache.v, { scale, keys: cache.length })
    } else {
      const [q, k, v] = splitHeads(qkv, heads, parts)
      y = groups
        ? groupedAttention({ q, k, v }, groups, scale)
        : attention(q, k, v, { scale, keyLimit: keyLimit ?? undefined })
    }
    return this.proj.forward(reshape(y, x.shape))
  }
}

/** Attention within groups of tokens and to and from token 0: q, k, v and the result (B, length, H, D). */
function groupedAttention(
  { q, k, v }: KeysValues & { q: Tensor },
  groups: readonly { begin: number; end: number }[],
  scale: number,
): Tensor {
  // One group is all there is: everybody sees everybody.
  if (groups.length === 1) return attention(q, k, v, { scale })
  const withFront = (x: Tensor, begin: number, end: number) => concat([slice(x, 1, 0, 1), slice(x, 1, begin, end)], 1)
  return concat(
    [
      attention(slice(q, 1, 0, 1), k, v, { scale }),
      ...groups.map(({ begin, end }) =>
        attention(slice(q, 1, begin, end), withFront(k, begin, end), withFront(v, begin, end), { scale }),
      ),
    ],
    1,
  )
}

/** Text made ready for cross-attention: keys and values, and which tokens are no padding (u8 (B, T), 1 = attend). */
export interface TextKeysValues extends KeysValues {
  mask: Tensor | null
}

/**
 * Attention of every token to the text: q = x·W_qᵀ + q_bias, (k, v) = text·W_kvᵀ + (0, v_bias); scales as in SelfAttention,
 * no rotation; padding of the text is not seen. x (B, length, C), text (B, T, textWidth) → (B, length, C).
 */
export class CrossAttention extends Module {
  readonly logScale: Tensor | null
  readonly qBias: Tensor
  readonly vBias: Tensor
  readonly zeroKBias: Tensor
  readonly kv: Linear
  readonly q: Linear
  readonly proj: Linear
  readonly #options: HeadOptions

  constructor(config: StarConfig, init: ModelInit) {
    super()
    const { width, textWidth, heads, attnL2Norm } = config
    const std = baseStd(width, init)
    this.#options = headOptions(config)
    this.logScale = attnL2Norm ? this.param('scale_mul_1H11', logScaleParameter(heads, init), { single: true }) : null
    this.qBias = this.param('q_bias', zeros([width], init))
    this.vBias = this.param('v_bias', zeros([width], init))
    this.zeroKBias = this.buffer('zero_k_bias', zeros([width], init))
    this.kv = this.child('mat_kv', new Linear(textWidth, 2 * width, { ...init, std, bias: false }))
    this.q = this.child('mat_q', new Linear(width, width, { ...init, std, bias: false }))
    this.proj = this.child('proj', new Linear(width, width, { ...init, std }))
  }

  /** Keys and values of text states (B, T, textWidth): once a prompt, whatever the number of scales. */
  keysValues(states: Tensor): KeysValues {
    const kv = this.kv.forward(states, { bias: concat([this.zeroKBias, this.vBias], 0) })
    const [k, v] = splitHeads(kv, this.#options.heads, [{ l2Norm: this.#options.l2Norm }, {}])
    return { k, v }
  }

  forward(x: Tensor, { k, v, mask }: TextKeysValues): Tensor {
    const { scale } = this.#options
    const y = attention(this.#queries(x), k, v, { scale, keyMask: mask ?? undefined })
    return this.proj.forward(reshape(y, x.shape))
  }

  /** How much each token attends to each of the text, p = softmax(q·kᵀ·scale), the mean over heads: f32 (B, length, T). */
  weights(x: Tensor, { k, mask }: Omit<TextKeysValues, 'v'>): Tensor {
    const { heads, scale } = this.#options
    const [batch, length] = x.shape
    const text = k.dim(1)
    const byHead = (y: Tensor, b: number): Tensor =>
      cast(reshape(permute(slice(y, 0, b, b + 1), [0, 2, 1, 3]), [heads, y.dim(1), y.dim(3)]), 'f32')
    const q = this.#queries(x)
    const mean = full([1, heads], 1 / heads, { device: x.device })
    const samples = Array.from({ length: batch }, (_, b) => {
      const scores = matmul(byHead(q, b), byHead(k, b), { transB: true }) // (H, length, T)
      // Far below any score where the mask is 0.
      const bias = mask && affine(cast(reshape(slice(mask, 0, b, b + 1), [text]), 'f32'), null, 1e9, 0, -1e9)
      const p = softmax(bias ? add(scores, bias) : scores, scale)
      return reshape(matmul(mean, reshape(p, [heads, length * text])), [1, length, text])
    })
    return concat(samples, 0)
  }

  #queries(x: Tensor): Tensor {
    const { heads, l2Norm } = this.#options
    const part = { l2Norm, logScale: this.logScale ?? undefined }
    return splitHeads(this.q.forward(x, { bias: this.qBias }), heads, [part])[0]
  }
}
