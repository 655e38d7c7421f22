export { report } from './report.js'
export { openRuns, type RunView } from './run-view.js'
export { serveRuns, type WatchServer } from './watch-server.js'
