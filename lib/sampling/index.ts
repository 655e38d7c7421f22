export * from './generate.js'
export * from './guidance.js'
export * from './noise.js'
export * from './settings.js'
