/** Modules and layers: what other folders use of them. */
export * from './conv.js'
export * from './embedding.js'
export * from './init.js'
export * from './int8.js'
export * from './linear.js'
export * from './low-rank.js'
export * from './module.js'
export * from './norm.js'
