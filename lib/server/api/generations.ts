/** POST /v1/images/generations as OpenAI documents it, whole or as a stream with the picture after each scale. */
import { randomInt } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { StarImage, StarScaleEvent } from '../../index.js'
import type { JobRequest, Jobs } from '../draw/jobs.js'
import type { ModelPool, PooledModel } from '../draw/pool.js'
import { clientGone } from '../http/app.js'
import { asHttpError, HttpError } from '../http/errors.js'
import { EventStream } from '../http/events.js'
import type { Operations } from '../http/operation.js'
import { type Generations, generationsAnswer, generationsSchema, type OutputFormat } from './image-schemas.js'
import type { PictureStore } from './picture-store.js'

/** Seeds that are not given come from here. */
export const randomSeed = (): number => randomInt(2 ** 32)
const now = (): number => Math.floor(Date.now() / 1000)

/** @throws 400 where a size is asked for that the model does not draw */
function checkSize(model: PooledModel, size: string | null | undefined): void {
  const side = model.info?.imageSize
  if (!size || size === 'auto' || side === undefined || size === `${side}x${side}`) return
  throw new HttpError(400, `"size" is "${size}", but ${model.id} draws ${side}x${side}: send "auto", or leave it out`, {
    param: 'size',
    code: 'invalid_value',
  })
}

/**
 * Scale indices after which partial pictures are sent: `count` of the coarser scales, spread evenly; the last scale is the picture
 * itself.
 */
export function partialScales(count: number, scales: number): Set<number> {
  const coarser = scales - 1
  if (count >= coarser) return new Set(Array.from({ length: coarser }, (_, k) => k))
  return new Set(Array.from({ length: count }, (_, i) => Math.round(((i + 1) * (coarser + 1)) / (count + 1)) - 1))
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
      checkSize(model, body.size)
      const job: JobRequest = {
        model,
        prompt: body.prompt,
        api: 'openai',
        options: {
          count: body.n ?? 1,
          seed: body.seed ?? randomSeed(),
          cfg: body.cfg ?? undefined,
          topK: body.top_k ?? undefined,
          topP: body.top_p ?? undefined,
        },
        signal: clientGone(reply),
      }
      return body.stream ? streamed(jobs, job, body, reply) : whole(jobs, job, { body, store, request })
    },
  )
  operations.add(
    {
      method: 'POST',
      url: '/v1/images/edits',
      tag: 'Images',
      summary: 'Not available yet',
      statuses: [501],
      bytes: ['multipart/form-data'],
    },
    () => {
      throw new HttpError(501, 'this server draws new pictures (/v1/images/generations); it does not edit any yet', {
        code: 'not_implemented',
      })
    },
  )
}

async function whole(
  jobs: Jobs,
  job: JobRequest,
  { body, store, request }: { body: Generations; store: PictureStore; request: FastifyRequest },
) {
  const format = body.output_format ?? 'png'
  const data: { b64_json?: string; url?: string; seed: number }[] = []
  let side = 0
  for await (const image of jobs.run(job)) {
    const bytes = await image.toBuffer(format)
    side = image.width
    data.push({
      ...(body.response_format === 'url'
        ? { url: addressOf(request, store.add(bytes, format)) }
        : { b64_json: bytes.toString('base64') }),
      seed: image.settings.seed,
    })
  }
  return {
    created: now(),
    data,
    background: 'opaque',
    output_format: format,
    size: `${side}x${side}`,
    model: job.model.id,
  }
}

/** The whole address of a path, by the name that the client has for this server. */
function addressOf({ headers }: FastifyRequest, path: string): string {
  const scheme = headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'
  return `${scheme}://${headers.host}${path}`
}

async function streamed(jobs: Jobs, job: JobRequest, body: Generations, reply: FastifyReply): Promise<void> {
  const format: OutputFormat = body.output_format ?? 'png'
  const opened: EventStream[] = []
  const open = (): EventStream => {
    if (opened.length === 0) opened.push(new EventStream(reply))
    return opened[0]
  }
  const send = (type: string, fields: object): void => open().send({ type, created_at: now(), ...fields }, type)
  const shared = (image: StarImage) => ({
    size: `${image.width}x${image.height}`,
    output_format: format,
    background: 'opaque',
    quality: 'auto',
    seed: image.settings.seed,
  })
  const sent = new Map<number, number>()
  const sendPartial = (image: StarImage, index: number, bytes: Buffer): void => {
    const order = sent.get(index) ?? 0
    sent.set(index, order + 1)
    send('image_generation.partial_image', {
      b64_json: bytes.toString('base64'),
      partial_image_index: order,
      image_index: index,
      ...shared(image),
    })
  }
  // Files are made while the next scale is drawn, and sent in their order.
  let last: Promise<void> = Promise.resolve()
  const wanted = body.partial_images ?? 0
  if (wanted > 0)
    job.options.onScale = async ({ scaleIndex, scales, images, preview }: StarScaleEvent) => {
      if (!partialScales(wanted, scales).has(scaleIndex)) return
      const pictures = await preview()
      const files = Promise.all(pictures.map((picture) => picture.toBuffer(format)))
      const before = last
      last = files.then(async (bytes) => {
        await before
        for (const [i, file] of bytes.entries()) sendPartial(pictures[i], images[i], file)
      })
      last.catch(() => {})
    }
  if (body.progress) {
    job.onPosition = (ahead) => send('image_generation.queued', { position: ahead })
    job.onStart = () => send('image_generation.in_progress', {})
  }
  try {
    let index = 0
    for await (const image of jobs.run(job)) {
      const bytes = await image.toBuffer(format)
      await last
      send('image_generation.completed', {
        b64_json: bytes.toString('base64'),
        image_index: index++,
        ...shared(image),
        usage: usage(job.model),
      })
    }
    open().end()
  } catch (error) {
    // Before the first event there is still a status to say it with.
    if (opened.length === 0) throw error
    const { body: answer, status } = asHttpError(error)
    if (status === 500) reply.server.tellFault('/v1/images/generations', error)
    open().send(answer, 'error')
    open().end()
  }
}

/** Tokens that were drawn; those of prompts are not counted. */
function usage({ info }: PooledModel) {
  const tokens = info?.tokens ?? 0
  return {
    input_tokens: 0,
    input_tokens_details: { text_tokens: 0, image_tokens: 0 },
    output_tokens: tokens,
    total_tokens: tokens,
  }
}
