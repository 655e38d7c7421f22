/** Memory estimates: what other folders use of them. */
export * from './counts.js'
export * from './memory.js'
