/** Sampling: what other folders use of it. */
export type { ScaleConditions } from './conditions.js'
export * from './generate.js'
export { GraphPool } from './graphs.js'
export * from './guidance.js'
export * from './noise.js'
export * from './pictures.js'
export * from './settings.js'
export type { StableStepEvent } from './stable.js'
