/** An address of the API: what it takes and gives as zod schemas, which check requests and make the OpenAPI document. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { parseConfig } from '../../config/parse-config.js'
import { StarError } from '../../native/error.js'
import { HttpError } from './errors.js'

export interface Operation<B extends z.ZodType = z.ZodType, Q extends z.ZodType = z.ZodType> {
  method: 'GET' | 'POST'
  url: string
  /** Chapter of the document. */
  tag: string
  summary: string
  description?: string
  /** Of a JSON body. */
  body?: B
  /** Media types of a body that is no JSON, which the handler gets as bytes. */
  bytes?: readonly string[]
  query?: Q
  /** Of a JSON answer; the media type where it is another. */
  answer?: z.ZodType | string
  /** Media type of an answer that is sent instead where the request asks for it. */
  stream?: string
  /** Statuses other than 200. */
  statuses?: readonly number[]
  /** Largest body in bytes. */
  limit?: number
  /** Answered without the API key. */
  open?: boolean
}

type Given<T extends z.ZodType | undefined> = T extends z.ZodType ? z.output<T> : undefined

/** The operations of a server, in the order they were added. */
export class Operations {
  readonly list: Operation[] = []

  constructor(private readonly app: FastifyInstance) {}

  add<B extends z.ZodType, Q extends z.ZodType>(
    operation: Operation<B, Q>,
    handler: (given: { body: Given<B>; query: Given<Q> }, request: FastifyRequest, reply: FastifyReply) => unknown,
  ): void {
    this.list.push(operation)
    const { method, url, body, query, bytes, limit, open } = operation
    this.app.route({
      method,
      url,
      bodyLimit: limit,
      config: { open },
      handler: (request, reply) => {
        if (body && !bytes && !isJson(request))
          throw new HttpError(415, 'the body is no JSON: send it as application/json', {
            code: 'unsupported_media_type',
          })
        const given = {
          body: body ? checked(body, request.body, 'the body') : request.body,
          query: query ? checked(query, request.query, 'the query') : undefined,
        }
        return handler(given as { body: Given<B>; query: Given<Q> }, request, reply)
      },
    })
  }
}

const isJson = ({ headers }: FastifyRequest): boolean => /^application\/json\b/i.test(headers['content-type'] ?? '')

/** @throws 400 with the name of the field that is wrong, what it holds and what was expected */
export function checked<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]] : issue.path
  const param = path.length > 0 ? path.map(String).join('.').slice(0, 100) : null
  try {
    return parseConfig(schema, value, what)
  } catch (error) {
    if (!(error instanceof StarError)) throw error
    const message = error.message.replace(/\. Correct this and run it again$/, '')
    throw new HttpError(400, message, {
      param,
      code: issue.code === 'unrecognized_keys' ? 'unknown_field' : 'invalid_value',
    })
  }
}
