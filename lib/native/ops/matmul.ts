export type MatmulOps = {}
