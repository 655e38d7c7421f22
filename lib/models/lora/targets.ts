/** Which matrices of a block a LoRA may update. */

/** Groups of matrices, with their places in a block. */
export const loraTargets = {
  attention: ['attn.mat_qkv', 'attn.proj'],
  'cross-attention': ['cross_attn.mat_q', 'cross_attn.mat_kv', 'cross_attn.proj'],
  'feed-forward': ['ffn.fc1', 'ffn.fc2'],
} as const
export type LoraTarget = keyof typeof loraTargets
export const loraTargetNames = Object.keys(loraTargets) as [LoraTarget, ...LoraTarget[]]
