export type NormOps = {}
