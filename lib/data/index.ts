export * from './emoji.js'
export * from './pack.js'
export * from './png.js'
