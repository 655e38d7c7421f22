/** POST /v1/images/generations as OpenAI documents it, whole or as a stream with the picture after each scale. */
import type { PictureSize } from '../../index.js'
import { refusal } from '../../picture-size.js'
import type { JobRequest, Jobs } from '../draw/jobs.js'
import type { ModelPool, PooledModel } from '../draw/pool.js'
import { clientGone } from '../http/app.js'
import { HttpError } from '../http/errors.js'
import type { Operations } from '../http/operation.js'
import { settingsIn, streamed, whole } from './image-answers.js'
import { generationsAnswer, generationsSchema } from './image-schemas.js'
import type { PictureStore } from './picture-store.js'

/** @throws 400 where a size is asked for that the model does not draw */
export function sizeIn({ info }: PooledModel, asked: string | null | undefined): PictureSize | undefined {
  if (!asked || asked === 'auto') return undefined
  const refused = (reason: string): never => {
    throw new HttpError(400, `"size" is "${asked.slice(0, 40)}": ${reason}`, { param: 'size', code: 'invalid_value' })
  }
  if (!/^\d{1,5}x\d{1,5}$/.test(asked)) refused('expected WIDTHxHEIGHT in pixels')
  const [width, height] = asked.split('x').map(Number)
  if (width === 0 || height === 0) refused('sides are counted in pixels from 1')
  const reason = info && refusal({ width, height }, info)
  if (reason) refused(reason)
  return { width, height }
}

export function addGenerations(operations: Operations, pool: ModelPool, jobs: Jobs, store: PictureStore): void {
  operations.add(
    {
      method: 'POST',
      url: '/v1/images/generations',
      tag: 'Images',
      summary: 'Draws pictures of a prompt',
      description:
        'As OpenAI documents it. With stream, each picture comes as events image_generation.partial_image and at last ' +
        'image_generation.completed, with image_index where n is more than 1.',
      body: generationsSchema,
      answer: generationsAnswer,
      stream: 'text/event-stream',
      statuses: [400, 401, 404, 413, 429, 503],
    },
    ({ body }, request, reply) => {
      const model = pool.find(body.model)
      const size = sizeIn(model, body.size)
      const job: JobRequest = {
        model,
        prompt: body.prompt,
        api: 'openai',
        options: { ...settingsIn(model, body), size },
        signal: clientGone(reply),
      }
      return body.stream
        ? streamed(jobs, job, { body, name: 'image_generation' }, reply)
        : whole(jobs, job, { body, store, request })
    },
  )
}
