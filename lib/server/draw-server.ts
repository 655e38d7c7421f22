/** `star serve`: models behind OpenAI's Images API and AUTOMATIC1111's, and a page that makes pictures. */
import { A1111 } from './api/a1111.js'
import { addHealth } from './api/health.js'
import { addMetrics, ServerMetrics } from './api/metrics.js'
import { Jobs } from './draw/jobs.js'
import { ModelPool, type PoolOptions } from './draw/pool.js'
import { addDrawing, addDrawPages } from './draw/routes.js'
import { type AppOptions, createApp, listen, shutDown } from './http/app.js'
import { Operations } from './http/operation.js'

export interface ServeOptions extends Omit<AppOptions, 'onAnswer'>, Partial<Omit<PoolOptions, 'log'>> {
  /** Names or paths of models; the first is drawn with where a request names none. */
  models: readonly string[]
  /** Requests that may wait. Default 64. */
  queue?: number
  /** Pictures drawn together at most. Default 8. */
  batch?: number
  /** Milliseconds that a request is held before it is refused because the queue is full. Default 2000. */
  hold?: number
}

export interface DrawServer {
  readonly address: string
  /** Settles when the first model is loaded. @throws 503 where it cannot be */
  readonly ready: Promise<void>
  /** Ends in an orderly way: requests at work have some seconds, those that come are refused. */
  close(): Promise<void>
}

/** Milliseconds that requests at work have to end when the server stops. */
const stopTime = 8000

/**
 * @throws ERR_FILE, ERR_CONFIG, ERR_SHAPE for a model that is missing or damaged, ERR_COMM when the port cannot be opened,
 * ERR_ARGUMENT where other machines could ask and there is no key
 */
export async function serveModels({
  models,
  queue = 64,
  batch = 8,
  idleUnload = 600_000,
  ...options
}: ServeOptions): Promise<DrawServer> {
  const metrics = new ServerMetrics()
  const app = createApp({
    ...options,
    onAnswer: (route, status, seconds) => metrics.answered(route, status, seconds),
  })
  const pool = new ModelPool(models, { ...options, idleUnload })
  const jobs = new Jobs(pool, { queue, batch, hold: options.hold, meter: metrics })
  metrics.watch(jobs, pool)

  const operations = new Operations(app)
  const parts = { app, operations, pool, jobs }
  let started = false
  addDrawing(parts)
  new A1111(pool, jobs).add(operations)
  addHealth(operations, pool, jobs, () => started)
  addMetrics(operations, metrics)
  addDrawPages(parts, '/', options.apiKey !== undefined)

  const address = await listen(app, options)
  const ready = pool.load(pool.models[0]).then(() => {
    started = true
  })
  ready.catch(() => {})
  return {
    address,
    ready,
    close: async () => {
      await jobs.stop(stopTime)
      await shutDown(app)
      await pool.close()
    },
  }
}
