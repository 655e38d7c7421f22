export type RandomOps = {}
