export * from './adamw.js'
export * from './decay.js'
export * from './ema.js'
export * from './schedule.js'
