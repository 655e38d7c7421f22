export type SamplingOps = {}
