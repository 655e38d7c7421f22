/** Serves the page of some runs: its files, what the runs hold so far, and every second what came since. */
import { Jobs } from '../draw/jobs.js'
import { drawPageFiles } from '../draw/page.js'
import { ModelPool } from '../draw/pool.js'
import { addDrawing, addDrawPages } from '../draw/routes.js'
import { createApp, listen, shutDown } from '../http/app.js'
import { HttpError } from '../http/errors.js'
import { EventStream } from '../http/events.js'
import { Operations } from '../http/operation.js'
import { addPageFiles } from '../page-files.js'
import { pageFiles } from './page.js'
import type { RunView } from './run-view.js'
import { Trials } from './trials.js'

export interface WatchOptions {
  host: string
  /** 0: a free one. */
  port: number
  /** What browsers have to give as password. Demanded where other machines can ask. */
  apiKey?: string
  /** Further names of this server, as a reverse proxy is known by. */
  allowHosts?: readonly string[]
  /** Milliseconds between looks at the run folders. */
  interval?: number
  /** Told in one line what went wrong. */
  log?: (line: string) => void
}

export interface WatchServer {
  readonly address: string
  close(): Promise<void>
}

/** @throws ERR_COMM when the port cannot be opened, ERR_ARGUMENT where other machines could ask and there is no key */
export async function serveRuns(runs: readonly RunView[], options: WatchOptions): Promise<WatchServer> {
  const app = createApp(options)
  const operations = new Operations(app)
  // The GPU is the training's.
  const pool = new ModelPool([], { load: { device: 'cpu' }, idleUnload: 600_000, log: options.log })
  const trials = new Trials(pool)
  const jobs = new Jobs(pool, { queue: 64, batch: 8 })
  const listeners = new Set<EventStream>()
  let problem = ''

  const parts = { app, operations, pool, jobs }
  addDrawing(parts)
  addDrawPages(parts, '/draw', options.apiKey !== undefined)
  const shared = drawPageFiles('/draw')
  addPageFiles(app, new Map([...pageFiles()].filter(([path]) => !shared.has(path))))
  app.post<{ Params: { run: string } }>('/runs/:run/try', async (request) => {
    const run = runAt(request.params.run)
    if (!run) throw new HttpError(404, 'there is no such run', { code: 'not_found' })
    const { id } = await trials.model(run)
    return { model: id }
  })
  app.get('/runs', async (_, reply) => {
    look()
    reply.header('cache-control', 'no-cache')
    return runs.map((run) => run.data())
  })
  app.get('/events', (_, reply) => {
    const stream = new EventStream(reply)
    listeners.add(stream)
    reply.raw.on('close', () => listeners.delete(stream))
  })
  app.get<{ Params: { run: string; set: string; name: string } }>(
    '/pictures/:run/:set/:name',
    async (request, reply) => {
      const { run, set, name } = request.params
      const picture = runAt(run)?.picture(set, name)
      if (!picture) throw new HttpError(404, 'there is no such picture', { code: 'not_found' })
      reply.header('cache-control', 'no-cache').type('image/png')
      return picture
    },
  )

  const runAt = (text: string): RunView | undefined => (/^\d{1,6}$/.test(text) ? runs[Number(text)] : undefined)

  /** Reads what is new and tells every page. */
  const look = (): void => {
    runs.forEach((run, i) => {
      const { changes, pictures, elapsed } = run.update()
      if (Object.keys(changes).length === 0 && !pictures) return
      for (const listener of listeners) listener.send({ run: i, elapsed, changes, pictures })
    })
  }

  const address = await listen(app, options)
  const timer = setInterval(() => {
    try {
      look()
      problem = ''
    } catch (error) {
      // A folder that cannot be read for a moment (a network disk) is tried again; the same fault is told once.
      const message = error instanceof Error ? error.message : String(error)
      if (message !== problem) options.log?.(message)
      problem = message
    }
  }, options.interval ?? 1000)
  return {
    address,
    close: async () => {
      clearInterval(timer)
      for (const listener of listeners) listener.end()
      await jobs.stop(2000)
      await shutDown(app)
      await pool.close()
      trials.close()
    },
  }
}
