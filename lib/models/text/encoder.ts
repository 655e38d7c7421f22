/** What the transformer needs of a text encoder: a state a token, one vector a prompt, and which tokens are real. */
import type { Tensor } from '../../tensor/index.js'

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
  dispose(): void
}
