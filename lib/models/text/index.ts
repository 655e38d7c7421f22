/** Text encoders and their tokenizers: what other folders use of them. */
export * from './clip.js'
export * from './encoder.js'
export * from './hugging-face.js'
export * from './load.js'
export * from './minilm.js'
export * from './t5.js'
export * from './tokenizer.js'
export * from './tokenizer-files.js'
