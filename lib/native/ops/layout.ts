export type LayoutOps = {}
