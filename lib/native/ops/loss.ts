export type LossOps = {}
