/** The servers behind `star serve` and `star watch`, and the report: what other folders use of them. */
export { type DrawServer, type ServeOptions, serveModels } from './draw-server.js'
export { report } from './runs/report.js'
export { openRuns } from './runs/run-view.js'
export { serveRuns } from './runs/watch-server.js'
