/** What the transformer needs of a text encoder: a state a token, one vector a prompt, and which tokens are real. */
import { createHash } from 'node:crypto'
import { StarError } from '../../native/index.js'
import type { Module } from '../../nn/index.js'
import { embedding, matmul, noGrad, reshape, scope, Tensor } from '../../tensor/index.js'
import { encodeBatch, type TextTokenizer, type TokenBatch } from './tokenizer.js'

export interface EncodedText {
  /** (B, T, W): the encoder's last hidden states, meaningless where the mask is 0. */
  states: Tensor
  /** (B, W): one vector a prompt. */
  pooled: Tensor
  /** u8 (B, T): 1 for a token, 0 for padding. */
  mask: Tensor
  /** Tokens of each prompt, special ones included: at least 1, so that the empty prompt has a state too. */
  lengths: number[]
}

export interface EncodeOptions {
  /** Cuts T to the longest prompt of the batch. The states are the same, with less padding behind them. */
  trim?: boolean
}

export interface TextEncoder {
  readonly name: string
  /** W */
  readonly width: number
  /** Tokens a prompt is padded or cut to, special ones included. */
  readonly maxLength: number
  readonly device: string
  /** Encodes without recording gradients. The tensors are the caller's (or its scope's). */
  encode(prompts: readonly string[], options?: EncodeOptions): EncodedText
  /** The `lengths` that `encode` gives, without encoding. */
  tokenCounts(prompts: readonly string[]): number[]
  /** The words of a prompt, and which of its tokens they are; without those that lie beyond `maxLength`. */
  words(prompt: string): WordTokens[]
  /** A hash of all that decides the states: tokenizer, configuration and weights. Reads every weight. */
  fingerprint(): string
  dispose(): void
}

/** A word, set apart by white space, and its tokens: [begin, end). */
export interface WordTokens {
  word: string
  begin: number
  end: number
}

/** A network from token ids to states. */
export interface TextModel extends Module {
  /** All that is not in the weights; it goes into the fingerprint. */
  readonly config: object
  readonly device: string
  /** W */
  readonly width: number
  /** @param ids i32 (B, T) @param mask u8 (B, T), 0 for padding @returns (B, T, W) */
  forward(ids: Tensor, mask: Tensor): Tensor
}

/** Makes (B, W) of (B, T, W). */
export type Pooling = (states: Tensor, batch: TokenBatch) => Tensor

/** The mean of the states over the tokens that are not padding. */
export const meanPooling: Pooling = (states, { mask, lengths, length }) => {
  const [count, , width] = states.shape
  const share = Float32Array.from(mask, (m, i) => m / lengths[Math.floor(i / length)])
  const row = Tensor.from(share, [count, 1, length], { device: states.device }) // (B, 1, T)
  return reshape(matmul(row, states), [count, width])
}

/** The state at the first token with this id. */
export const statePooling =
  (id: number): Pooling =>
  (states, { ids, length }) => {
    const [count, , width] = states.shape
    const places = Int32Array.from({ length: count }, (_, i) => ids.indexOf(id, i * length))
    return embedding(reshape(states, [count * length, width]), Tensor.from(places, [count], { device: states.device }))
  }

export interface ModelTextEncoderOptions {
  name: string
  maxLength: number
  pooling: Pooling
}

/** A text encoder made of a tokenizer, a network and a pooling. */
export class ModelTextEncoder<M extends TextModel> implements TextEncoder {
  readonly name: string
  readonly maxLength: number
  readonly #pooling: Pooling

  constructor(
    readonly model: M,
    readonly tokenizer: TextTokenizer,
    { name, maxLength, pooling }: ModelTextEncoderOptions,
  ) {
    this.name = name
    this.maxLength = maxLength
    this.#pooling = pooling
  }

  get width(): number {
    return this.model.width
  }

  get device(): string {
    return this.model.device
  }

  encode(prompts: readonly string[], options: EncodeOptions = {}): EncodedText {
    if (prompts.length === 0)
      throw new StarError('ERR_ARGUMENT', 'encode: no prompt was given, expected at least one (it may be empty)')
    const batch = encodeBatch(this.tokenizer, prompts, this.maxLength, options.trim)
    const shape = [prompts.length, batch.length]
    return noGrad(() =>
      scope(() => {
        const mask = Tensor.from(batch.mask, shape, { device: this.device }) // (B, T)
        const states = this.model.forward(Tensor.from(batch.ids, shape, { device: this.device }), mask) // (B, T, W)
        return { states, pooled: this.#pooling(states, batch), mask, lengths: batch.lengths }
      }),
    )
  }

  tokenCounts(prompts: readonly string[]): number[] {
    return prompts.map((prompt) => this.tokenizer.encode(prompt, this.maxLength).length)
  }

  words(prompt: string): WordTokens[] {
    const ids = (text: string): number[] => this.tokenizer.encode(text, this.maxLength)
    const [all, none] = [ids(prompt), ids('')]
    // Special tokens are what the prompt begins and ends with as a prompt of no words does.
    let before = 0
    while (before < none.length && none[before] === all[before]) before++
    let behind = 0
    while (behind < none.length - before && none[none.length - 1 - behind] === all[all.length - 1 - behind]) behind++
    const list = prompt.split(/\s+/).filter((word) => word !== '')
    // White space parts tokens, so the first words of a prompt have the tokens that they have alone.
    const ends = list.map((_, i) => ids(list.slice(0, i + 1).join(' ')).length - behind)
    const room = all.length - behind
    return list
      .map((word, i) => ({ word, begin: i === 0 ? before : ends[i - 1], end: Math.min(ends[i], room) }))
      .filter(({ begin, end }) => begin < end)
  }

  fingerprint(): string {
    const hash = createHash('sha256')
    hash.update(`${JSON.stringify([this.name, this.maxLength, this.model.config])}\0${this.tokenizer.fingerprint()}`)
    for (const { name, tensor } of this.model.namedTensors())
      hash.update(`\0${name} ${tensor.dtype} ${tensor.shape.join()}\0`).update(new Uint8Array(tensor.handle.read()))
    return hash.digest('hex')
  }

  dispose(): void {
    this.model.dispose()
  }
}
