export * from './model-folder.js'
export * from './safetensors.js'
export * from './weights.js'
