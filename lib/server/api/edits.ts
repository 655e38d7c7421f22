/** POST /v1/images/edits as OpenAI documents it: a picture, and what of it is drawn anew. */
import type { FastifyRequest } from 'fastify'
import type { Jobs } from '../draw/jobs.js'
import type { ModelPool } from '../draw/pool.js'
import { clientGone } from '../http/app.js'
import { HttpError } from '../http/errors.js'
import { checked, type Operations } from '../http/operation.js'
import { sizeIn } from './generations.js'
import { changing, sizeOf } from './given-files.js'
import { settingsIn, streamed, whole } from './image-answers.js'
import { editsSchema, generationsAnswer } from './image-schemas.js'
import type { PictureStore } from './picture-store.js'
import { pictureLimit } from './pictures.js'

/** Fields of the form that are no texts. */
const numbers = new Set([
  'n',
  'seed',
  'cfg',
  'top_k',
  'top_p',
  'partial_images',
  'output_compression',
  'feather',
  'share',
  'strength',
])
const switches = new Set(['stream', 'progress'])

/** A text as the value that it stands for; one that stands for none stays what it is, and the schema refuses it. */
function fieldOf(name: string, text: string): unknown {
  if (numbers.has(name) && text.trim() !== '') return Number.isNaN(Number(text)) ? text : Number(text)
  if (name === 'lora') return jsonOr(text)
  if (switches.has(name) && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

/** A list, which forms hold as JSON. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The fields of a multipart form, files as bytes. @throws 400 for a body that is none */
async function formOf({ body, headers }: FastifyRequest): Promise<Record<string, unknown>> {
  const fields: Record<string, unknown> = {}
  let form: FormData
  try {
    form = await new Response(body as Buffer, { headers: { 'content-type': headers['content-type'] ?? '' } }).formData()
  } catch {
    throw new HttpError(400, 'the body is no form that can be read: send it as multipart/form-data', {
      code: 'invalid_request',
    })
  }
  for (const [key, value] of form.entries()) {
    // Clients write lists with brackets.
    const name = key.replace(/\[\]$/, '')
    if (Object.hasOwn(fields, name))
      throw new HttpError(
        400,
        `"${name.slice(0, 40)}" comes twice, expected it once: one picture is changed at a time`,
        {
          param: name.slice(0, 100),
          code: 'invalid_value',
        },
      )
    const given = typeof value === 'string' ? fieldOf(name, value) : new Uint8Array(await value.arrayBuffer())
    Object.defineProperty(fields, name, { value: given, enumerable: true })
  }
  return fields
}

export function addEdits(operations: Operations, pool: ModelPool, jobs: Jobs, store: PictureStore): void {
  operations.add(
    {
      method: 'POST',
      url: '/v1/images/edits',
      tag: 'Images',
      summary: 'Draws a part of a picture anew',
      description:
        'As OpenAI documents it: a form with image, prompt, and mask or a picture that is transparent where it is drawn; the other ' +
        'fields are those of /v1/images/generations, and feather and strength. The answer has the size of the picture. With from in ' +
        'place of a mask, words say what changes, and the answer has the size that the model draws. With stream, ' +
        'events are called image_edit.partial_image and image_edit.completed.',
      bytes: ['multipart/form-data'],
      answer: generationsAnswer,
      stream: 'text/event-stream',
      statuses: [400, 401, 404, 413, 415, 429, 503],
      limit: 2 * pictureLimit,
    },
    async (_, request, reply) => {
      const body = checked(editsSchema, await formOf(request), 'the form')
      const model = pool.find(body.model)
      const { width, height } = await sizeOf(body.image, 'image')
      if (body.mask) await sizeOf(body.mask, 'mask')
      const { image, mask, from } = body
      const [feather, strength, share] = [body.feather, body.strength, body.share].map((value) => value ?? undefined)
      if (from == null && share !== undefined)
        throw new HttpError(400, '"share" goes with "from": a mask says itself which part is drawn', {
          param: 'share',
          code: 'invalid_value',
        })
      const maskField = (['mask', 'feather'] as const).find((name) => body[name] != null)
      if (from != null && maskField)
        throw new HttpError(
          400,
          `"${maskField}" goes with a mask, but "from" is given: words say what changes, so leave one out`,
          {
            param: maskField,
            code: 'invalid_value',
          },
        )
      if (from == null && body.size && body.size !== 'auto' && body.size !== `${width}x${height}`)
        throw new HttpError(
          400,
          `"size" is "${body.size.slice(0, 40)}", but the picture has ${width}x${height}, which it keeps: send "auto", or leave it out`,
          { param: 'size', code: 'invalid_value' },
        )
      const job = {
        model,
        prompt: body.prompt,
        api: 'openai' as const,
        options: { ...settingsIn(model, body), ...(from != null && { size: sizeIn(model, body.size) }) },
        draw: changing(
          body.prompt,
          from == null ? { by: 'edit', image, mask, feather, strength } : { by: 'words', image, from, share, strength },
        ),
        signal: clientGone(reply),
      }
      return body.stream
        ? streamed(jobs, job, { body, name: 'image_edit' }, reply)
        : whole(jobs, job, { body, store, request })
    },
  )
}
