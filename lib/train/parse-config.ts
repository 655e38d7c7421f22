/** Run configurations are checked like every other configuration. */
export { parseConfig, parseConfigText, parseJson, readConfigFile } from '../config/parse-config.js'
