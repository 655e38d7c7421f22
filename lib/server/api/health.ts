/** Whether the process lives, and whether it can take requests. */
import { z } from 'zod'
import type { Jobs } from '../draw/jobs.js'
import type { ModelPool } from '../draw/pool.js'
import type { Operations } from '../http/operation.js'

const state = z.object({
  status: z.string(),
  models: z
    .record(z.string(), z.enum(['unloaded', 'loading', 'ready']))
    .describe('state of each model')
    .optional(),
})

/** @param started whether the first model was loaded once */
export function addHealth(operations: Operations, pool: ModelPool, jobs: Jobs, started: () => boolean): void {
  operations.add(
    { method: 'GET', url: '/healthz', tag: 'Operation', summary: 'The process lives', answer: state, open: true },
    async () => ({ status: 'ok' }),
  )
  operations.add(
    {
      method: 'GET',
      url: '/readyz',
      tag: 'Operation',
      summary: 'Requests can be taken',
      description: '503 while the first model is being loaded, and while the server is stopping.',
      answer: state,
      statuses: [503],
      open: true,
    },
    async (_, __, reply) => {
      const ready = started() && !jobs.stopping
      reply.status(ready ? 200 : 503)
      return {
        status: ready ? 'ready' : jobs.stopping ? 'stopping' : 'loading',
        models: Object.fromEntries(pool.models.map(({ id, state }) => [id, state])),
      }
    },
  )
}
