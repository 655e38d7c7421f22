export type OptimOps = {}
