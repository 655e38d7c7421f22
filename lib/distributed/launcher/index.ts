export { type LaunchExtras, launch } from './launch.js'
export { type LaunchFlags, type LaunchOptions, launchOptions } from './options.js'
