/** The launcher behind `star launch`: what other folders use of it. */
export { launch } from './launch.js'
export { type LaunchFlags, launchOptions } from './options.js'
