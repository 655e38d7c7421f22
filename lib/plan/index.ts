/** Memory estimates and the clock on paper: what other folders use of them. */
export * from './cards.js'
export * from './counts.js'
export * from './memory.js'
export * from './time.js'
