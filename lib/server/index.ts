/** The server behind `star watch` and the report: what other folders use of it. */
export { report } from './report.js'
export { openRuns } from './run-view.js'
export { serveRuns } from './watch-server.js'
