export type ResampleOps = {}
