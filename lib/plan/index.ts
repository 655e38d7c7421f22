export * from './counts.js'
export * from './memory.js'
