export * from './encoder.js'
export * from './minilm.js'
export * from './tokenizer.js'
