/** Process groups: what other folders use of them. */
export { type DistributedEnvironment, type Launcher, readEnvironment } from './environment.js'
export { broadcastTensors, GradientExchange } from './gradient-exchange.js'
export { ParameterShards } from './parameter-shards.js'
export { type ConnectOptions, ProcessGroup } from './process-group.js'
