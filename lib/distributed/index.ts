/** Process groups: what other folders use of them. */
export { readEnvironment } from './environment.js'
export { broadcastTensors, GradientExchange } from './gradient-exchange.js'
export { ParameterShards } from './parameter-shards.js'
export { ProcessGroup } from './process-group.js'
