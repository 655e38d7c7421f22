export type AttentionOps = {}
