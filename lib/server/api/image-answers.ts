/** How pictures of OpenAI's API are answered: whole, or as a stream with the picture after each scale. */
import { randomInt } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { drawingsOf } from '../../editing/index.js'
import type { StarImage, StarScaleEvent } from '../../index.js'
import { tokensOf } from '../../picture-size.js'
import type { JobRequest, Jobs } from '../draw/jobs.js'
import type { PooledModel } from '../draw/pool.js'
import { asHttpError, HttpError } from '../http/errors.js'
import { EventStream } from '../http/events.js'
import type { Generations, OutputFormat } from './image-schemas.js'
import type { PictureStore } from './picture-store.js'

/** Seeds that are not given come from here. */
export const randomSeed = (): number => randomInt(2 ** 32)

/** @throws 400 for a LoRA that is not offered with the model */
function lorasIn({ id, loras }: PooledModel, asked: Generations['lora']): JobRequest['options']['lora'] {
  return asked?.map(({ name, strength }) => {
    const lora = loras.find((candidate) => candidate.name === name)
    if (lora) return { path: lora.path, strength }
    throw new HttpError(
      400,
      `"lora": ${id} has no LoRA "${name}" here; it has ${loras.map((known) => known.name).join(', ') || 'none'}`,
      { param: 'lora', code: 'invalid_value' },
    )
  })
}

/** Undefined for the speed that a model has by itself: a file is the same whether a request names that or none. */
const speedIn = ({ info }: PooledModel, asked: Generations['speed']): JobRequest['options']['speed'] =>
  info && asked === (info.sampling.speed ?? 'full') ? undefined : (asked ?? undefined)

/** How the pictures of a request are drawn. @throws 400 for LoRAs that the model does not have */
export const settingsIn = (model: PooledModel, body: Generations): JobRequest['options'] => ({
  lora: lorasIn(model, body.lora),
  count: body.n ?? 1,
  seed: body.seed ?? randomSeed(),
  cfg: body.cfg ?? undefined,
  topK: body.top_k ?? undefined,
  topP: body.top_p ?? undefined,
  speed: speedIn(model, body.speed),
  negativePrompt: body.negative_prompt || undefined,
})

const now = (): number => Math.floor(Date.now() / 1000)

/**
 * Scale indices after which partial pictures are sent: `count` of the coarser scales, spread evenly; the last scale is the picture
 * itself.
 */
export function partialScales(count: number, scales: number): Set<number> {
  const coarser = scales - 1
  if (count >= coarser) return new Set(Array.from({ length: coarser }, (_, k) => k))
  return new Set(Array.from({ length: count }, (_, i) => Math.round(((i + 1) * (coarser + 1)) / (count + 1)) - 1))
}

/** What decides the form of an answer. */
export interface AnswerOptions {
  body: Pick<Generations, 'output_format' | 'response_format' | 'partial_images' | 'progress'>
  /** What events are called after. */
  name: 'image_generation' | 'image_edit'
}

export async function whole(
  jobs: Jobs,
  job: JobRequest,
  { body, store, request }: Pick<AnswerOptions, 'body'> & { store: PictureStore; request: FastifyRequest },
) {
  const format = body.output_format ?? 'png'
  const data: { b64_json?: string; url?: string; seed: number }[] = []
  let size = ''
  for await (const image of jobs.run(job)) {
    const bytes = await image.toBuffer(format)
    size = `${image.width}x${image.height}`
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
    size,
    model: job.model.id,
  }
}

/** The whole address of a path, by the name that the client has for this server. */
function addressOf({ headers }: FastifyRequest, path: string): string {
  const scheme = headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'
  return `${scheme}://${headers.host}${path}`
}

/** The file of a picture as it looked after a scale. */
interface Preview {
  bytes: Buffer
  scale: number
  scales: number
}

export async function streamed(
  jobs: Jobs,
  job: JobRequest,
  { body, name }: AnswerOptions,
  reply: FastifyReply,
): Promise<void> {
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
  const sendPartial = (image: StarImage, index: number, { bytes, scale, scales }: Preview): void => {
    const order = sent.get(index) ?? 0
    sent.set(index, order + 1)
    send(`${name}.partial_image`, {
      b64_json: bytes.toString('base64'),
      partial_image_index: order,
      image_index: index,
      scale_index: scale,
      scales,
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
        for (const [i, file] of bytes.entries())
          sendPartial(pictures[i], images[i], { bytes: file, scale: scaleIndex, scales })
      })
      last.catch(() => {})
    }
  if (body.progress) {
    job.onPosition = (ahead) => send(`${name}.queued`, { position: ahead })
    job.onStart = () => send(`${name}.in_progress`, {})
  }
  try {
    let index = 0
    for await (const image of jobs.run(job)) {
      const bytes = await image.toBuffer(format)
      await last
      send(`${name}.completed`, {
        b64_json: bytes.toString('base64'),
        image_index: index,
        ...shared(image),
        usage: usage(job, image, index),
      })
      index++
    }
    open().end()
  } catch (error) {
    // Before the first event there is still a status to say it with.
    if (opened.length === 0) throw error
    const { body: answer, status } = asHttpError(error)
    if (status === 500) reply.server.tellFault(reply.request.routeOptions.url ?? name, error)
    open().send(answer, 'error')
    open().end()
  }
}

/**
 * Tokens of pictures that the model computed: drawn ones as output, those of a picture that it read as input. Texts are not counted.
 * @param index of the picture in its request: what is read once for all of them counts with the first
 */
function usage({ model: { info }, options: { size } }: JobRequest, { settings: { edited } }: StarImage, index: number) {
  const tokens = info ? tokensOf(info, size) : 0
  // Words are found in the picture by reading it with both prompts; a part is drawn twice where nothing of it is kept.
  const byWords = edited?.from !== undefined
  const drawings = edited?.by === 'edit' && !byWords && info ? drawingsOf(edited.strength, info.scales.length) : 1
  const [read, drawn] = [byWords && index === 0 ? 2 * tokens : 0, drawings * tokens]
  return {
    input_tokens: read,
    input_tokens_details: { text_tokens: 0, image_tokens: read },
    output_tokens: drawn,
    total_tokens: read + drawn,
  }
}
