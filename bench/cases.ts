/** What is measured: a small model as the shipped ones are, the published 256² model, and the published text encoders. */
import type { ClipTextConfig, T5Config } from '../lib/models/text/index.js'

interface ModelShape {
  depth: number
  width: number
  patchNums: number[]
  vocabSize: number
  latentChannels: number
  textWidth: number
  textTokens: number
  /** Channels of the decoder's finest level, and the multiple of them that each level has. */
  baseChannels: number
  channelMultipliers: number[]
}

/** `decode`: a latent f̂ to pixels alone. */
export type StarCaseKind = 'forward' | 'train' | 'generate' | 'decode'

export interface StarCase extends ModelShape {
  name: string
  kind: StarCaseKind
  batch: number
  /** Real tokens of each prompt of the batch [prompts…, ""…]. */
  textLengths: number[]
  sampling?: { cfg: number; topK: number; topP: number }
  /** Scale index from which on a sampler head fixes the tokens in steps. */
  stableFrom?: number
}

/** A text encoder's states of a batch of prompts. */
export interface TextCase {
  name: string
  kind: 'text'
  batch: number
  /** Length the prompts are padded to. */
  textTokens: number
  textLengths: number[]
  config: ClipTextConfig | T5Config
}

export type BenchCase = StarCase | TextCase

/** Precisions of our side, the finest first: the transformer's `dtype`; below f32 the decoder computes in bf16. */
export const precisions = ['f32', 'bf16', 'int8'] as const
export type Precision = (typeof precisions)[number]

/** Precisions in which our side runs a case: text encoders are f32 always, and only what draws takes 8 bits. */
export function precisionsOf({ kind }: BenchCase): readonly Precision[] {
  if (kind === 'text') return ['f32']
  return kind === 'generate' ? precisions : ['f32', 'bf16']
}

/** How PyTorch runs a case: op by op or through torch.compile, in f32 or under autocast to bf16. */
export const peerModes = ['f32', 'f32-compiled', 'bf16', 'bf16-compiled'] as const
export type PeerMode = (typeof peerModes)[number]

/** The peer's modes of the same precision or a higher one. 8 bits stand against 16: PyTorch's autocast knows no less. */
export const peersOf = (precision: Precision): readonly PeerMode[] =>
  precision === 'f32' ? ['f32', 'f32-compiled'] : peerModes

const small: ModelShape = {
  depth: 6,
  width: 384,
  patchNums: [1, 2, 3, 4, 6, 8],
  vocabSize: 4096,
  latentChannels: 32,
  textWidth: 384,
  textTokens: 64,
  baseChannels: 32,
  channelMultipliers: [1, 1, 2, 4],
}

const published: ModelShape = {
  depth: 16,
  width: 1024,
  patchNums: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
  vocabSize: 4096,
  latentChannels: 32,
  textWidth: 1024,
  textTokens: 77,
  baseChannels: 160,
  channelMultipliers: [1, 1, 2, 2, 4],
}

function cases(title: string, shape: ModelShape, batch: number, stableFrom: number): StarCase[] {
  const lengths = Array.from({ length: batch }, (_, i) => shape.textTokens - ((7 * i) % (shape.textTokens - 2)))
  const sampling = { cfg: 4, topK: 600, topP: 0.8 }
  return [
    { ...shape, name: `${title}.forward`, kind: 'forward', batch, textLengths: lengths },
    { ...shape, name: `${title}.train`, kind: 'train', batch, textLengths: lengths },
    { ...shape, name: `${title}.generate`, kind: 'generate', batch: 1, textLengths: [20, 2], sampling },
    { ...shape, name: `${title}.stable`, kind: 'generate', batch: 1, textLengths: [20, 2], sampling, stableFrom },
    { ...shape, name: `${title}.decode`, kind: 'decode', batch: 1, textLengths: [20] },
  ]
}

const clip: ClipTextConfig = {
  model_type: 'clip_text_model',
  vocab_size: 49408,
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 23,
  num_attention_heads: 16,
  max_position_embeddings: 77,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-5,
}

/** FLAN-T5-XL with 4 of its 24 layers, which are all alike, so that both sides fit a small machine. */
const t5: T5Config = {
  model_type: 't5',
  vocab_size: 32128,
  d_model: 2048,
  d_kv: 64,
  d_ff: 5120,
  num_layers: 4,
  num_heads: 32,
  relative_attention_num_buckets: 32,
  relative_attention_max_distance: 128,
  layer_norm_epsilon: 1e-6,
  feed_forward_proj: 'gated-gelu',
}

export const benchCases: readonly BenchCase[] = [
  ...cases('d6-384', small, 32, 3),
  ...cases('d16-256', published, 1, 9),
  { name: 'clip.text', kind: 'text', batch: 2, textTokens: 77, textLengths: [77, 20], config: clip },
  { name: 't5-xl-4.text', kind: 'text', batch: 2, textTokens: 120, textLengths: [120, 30], config: t5 },
]
