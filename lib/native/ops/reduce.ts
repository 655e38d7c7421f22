export type ReduceOps = {}
