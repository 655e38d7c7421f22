/** LoRA, low-rank updates of a transformer: what other folders use of them. */
export * from './adapters.js'
export * from './apply.js'
export * from './files.js'
export * from './merge.js'
export * from './targets.js'
