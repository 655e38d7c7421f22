export * from './emoji.js'
export * from './pack.js'
