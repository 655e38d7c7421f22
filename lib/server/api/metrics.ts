/** What the server tells Prometheus of itself. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { JobMeter, Jobs } from '../draw/jobs.js'
import type { ModelPool } from '../draw/pool.js'
import type { Operations } from '../http/operation.js'

/** Seconds from a small model's picture to a large one's queue. */
const buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]

export class ServerMetrics implements JobMeter {
  readonly registry = new Registry()
  readonly #requests = this.#histogram('star_request_seconds', 'Time from a request to the end of its answer', [
    'route',
    'status',
  ])
  readonly #waits = this.#histogram('star_wait_seconds', 'Time that requests waited in the queue', ['model'])
  readonly #draws = this.#histogram('star_draw_seconds', 'Time from the start of drawing to the last picture', [
    'model',
  ])
  readonly #pictures = new Counter({
    name: 'star_pictures_total',
    help: 'Pictures drawn',
    labelNames: ['model'],
    registers: [this.registry],
  })
  readonly #refusals = new Counter({
    name: 'star_refusals_total',
    help: 'Requests that were refused because of load',
    labelNames: ['reason'],
    registers: [this.registry],
  })

  constructor() {
    collectDefaultMetrics({ register: this.registry })
  }

  #histogram<L extends string>(name: string, help: string, labelNames: L[]): Histogram<L> {
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] })
  }

  /** Figures that are read when they are asked for. */
  watch(jobs: Jobs, pool: ModelPool): void {
    const gauge = (name: string, help: string, value: () => number): void => {
      new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          this.set(value())
        },
      })
    }
    gauge('star_queue_waiting', 'Requests that wait', () => jobs.waiting)
    gauge('star_requests_drawing', 'Requests that are drawn', () => jobs.all.size - jobs.waiting)
    gauge('star_models_loaded', 'Models in memory', () => pool.models.filter(({ star }) => star).length)
  }

  answered(route: string, status: number, seconds: number): void {
    this.#requests.observe({ route, status }, seconds)
  }

  started(model: string, seconds: number): void {
    this.#waits.observe({ model }, seconds)
  }

  ended(model: string, seconds: number, pictures: number): void {
    this.#draws.observe({ model }, seconds)
    this.#pictures.inc({ model }, pictures)
  }

  refused(reason: string): void {
    this.#refusals.inc({ reason })
  }
}

export function addMetrics(operations: Operations, { registry }: ServerMetrics): void {
  operations.add(
    {
      method: 'GET',
      url: '/metrics',
      tag: 'Operation',
      summary: 'Figures for Prometheus',
      description: 'Queue, latencies, pictures, refusals, memory and event loop.',
      answer: 'text/plain',
    },
    async (_, __, reply) => {
      reply.type(registry.contentType)
      return registry.metrics()
    },
  )
}
