/** The server behind `star watch` and the report: what other folders use of it. */
export { report } from './report.js'
export { openRuns, type RunView } from './run-view.js'
export { serveRuns, type WatchServer } from './watch-server.js'
