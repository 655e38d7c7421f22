/** Refusals and faults as clients see them: the form of OpenAI's errors, never a stack. */
import type { FastifyError } from 'fastify'
import { StarError } from '../../native/error.js'

export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null }
}

interface Details {
  /** The field of the request that is at fault. */
  param?: string | null
  code?: string | null
  /** Seconds after which to try again. */
  retryAfter?: number
}

const types: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
}
const typeOf = (status: number): string => types[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error')

/** What ends a request with a status other than 200. */
export class HttpError extends Error {
  readonly param: string | null
  readonly code: string | null
  readonly retryAfter: number | undefined
  constructor(
    readonly status: number,
    message: string,
    { param = null, code = null, retryAfter }: Details = {},
  ) {
    super(message)
    this.param = param
    this.code = code
    this.retryAfter = retryAfter
  }

  get body(): ErrorBody {
    return { error: { message: this.message, type: typeOf(this.status), param: this.param, code: this.code } }
  }
}

/** The status that goes with an error of the library. */
function ofStarError({ code, message }: StarError): HttpError | null {
  if (code === 'ERR_ARGUMENT' || code === 'ERR_CONFIG') return new HttpError(400, message, { code: 'invalid_value' })
  if (code === 'ERR_BUSY') return new HttpError(429, message, { code: 'queue_full', retryAfter: 1 })
  if (code === 'ERR_MEMORY')
    return new HttpError(503, 'memory does not suffice for this request now: ask for fewer pictures, or later', {
      code: 'out_of_memory',
      retryAfter: 10,
    })
  if (code === 'ERR_ABORTED')
    return new HttpError(503, 'the request was cancelled', { code: 'cancelled', retryAfter: 5 })
  return null
}

/** How an error is answered. What is no refusal is a fault of the program, of which clients are told no more than that. */
export function asHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error
  if (error instanceof StarError) {
    const known = ofStarError(error)
    if (known) return known
  }
  const { statusCode, code, message } = error as Partial<FastifyError>
  if (statusCode === 413)
    return new HttpError(413, 'the body is larger than this address takes', { code: 'body_too_large' })
  if (statusCode === 415)
    return new HttpError(415, 'this address takes no body of that Content-Type; most take application/json', {
      code: 'unsupported_media_type',
    })
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new HttpError(statusCode, message ?? 'the request cannot be read', {
      code: code?.startsWith('FST_') || error instanceof SyntaxError ? 'invalid_request' : (code ?? null),
    })
  return new HttpError(500, 'a fault of the server; its log says more', { code: 'internal_error' })
}
