/** Weights in files: what other folders use of them. */
export * from './convert.js'
export * from './model-folder.js'
export * from './safetensors.js'
export * from './safetensors-writer.js'
export { elementSizes } from './stored-tensor.js'
export * from './torch-writer.js'
export * from './weights.js'
export { type WritableTensor, writables, writePartsSync } from './writable.js'
