/** Reading of Python pickles: what other folders use of it. */
export * from './unpickle.js'
export * from './value.js'
