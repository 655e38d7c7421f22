/** The launcher behind `star launch`: what other folders use of it. */
export { type LaunchExtras, launch } from './launch.js'
export { type LaunchFlags, type LaunchOptions, launchOptions } from './options.js'
