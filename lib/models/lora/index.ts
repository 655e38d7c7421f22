/** LoRA, low-rank updates of a transformer: what other folders use of them. */
export * from './adapters.js'
