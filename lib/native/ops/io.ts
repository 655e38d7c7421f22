export type IoOps = {}
