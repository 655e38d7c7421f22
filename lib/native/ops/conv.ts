export type ConvOps = {}
