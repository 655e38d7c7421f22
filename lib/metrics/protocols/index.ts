/** Protocols of published benchmarks: what other folders use of them. */
export { drawDpg, drawGenEval, type Layout } from './layouts.js'
export { evaluateMjhq, type MjhqOptions, type MjhqReport } from './mjhq.js'
export type { ProtocolOptions, Shard } from './pictures.js'
