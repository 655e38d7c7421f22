export * from './unpickle.js'
export * from './value.js'
