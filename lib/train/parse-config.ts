/** Run configurations are checked like every other configuration. */
export { parseConfig, parseConfigText, parseJson } from '../config/parse-config.js'
