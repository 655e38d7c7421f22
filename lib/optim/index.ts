/** Optimizer, schedules, loss scaling and averaged weights: what other folders use of them. */
export * from './adamw.js'
export * from './decay.js'
export * from './ema.js'
export * from './loss-scale.js'
export * from './muon.js'
export type { Optimizer, StepOptions, TrainedParameter } from './optimizer.js'
export * from './piece.js'
export * from './schedule.js'
