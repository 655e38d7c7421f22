/** What every server of this package is made of: who may ask, limits, timeouts, headers, errors, an orderly end. */
import type { AddressInfo, Socket } from 'node:net'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { StarError } from '../../native/error.js'
import { Access, type AccessOptions } from './access.js'
import { asHttpError, HttpError } from './errors.js'

export interface AppOptions extends AccessOptions {
  /** Port to listen at; 0: a free one. */
  port: number
  /** Told in one line what whoever runs the server may want to know. */
  log?: (line: string) => void
  /** Told of every answer. */
  onAnswer?: (route: string, status: number, seconds: number) => void
  /** Milliseconds in which a client has to send its headers, and its whole request, and may read nothing of the answer. */
  timeouts?: { headers: number; request: number; response: number }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered without the API key. */
    open?: boolean
  }
  interface FastifyInstance {
    /** Writes a fault of the program to the log. */
    tellFault(where: string, error: unknown): void
  }
}

/** Scripts, styles and pictures come from this server alone, and no other page may frame, embed or read what it serves. */
export const securityHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
} as const

/** Largest body where a route names no other limit, in bytes. A prompt has 4096 characters at most. */
const bodyLimit = 256 << 10
/** Connections at a time. More are closed at once; those whose request does not come are closed after the timeout. */
const maxConnections = 16_384

const refusal = (status: number, message: string, code: string): HttpError => new HttpError(status, message, { code })

function checkAccess(access: Access, { headers, routeOptions }: FastifyRequest): void {
  const { host, origin, authorization } = headers
  if (!access.knowsHost(host))
    throw refusal(403, 'the Host header names another server: use the address that this one printed', 'foreign_host')
  if (!access.allowsOrigin(origin, host!)) throw refusal(403, 'pages of other origins may not ask', 'foreign_origin')
  if (!routeOptions.config.open && !access.admits(authorization))
    throw refusal(401, 'the API key is missing or wrong: send it as "Authorization: Bearer KEY"', 'invalid_api_key')
}

/** Bytes that are no HTTP, and clients that are too slow. */
function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const status = late
    ? '408 Request Timeout'
    : error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : '400 Bad Request'
  if (socket.writable) socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  socket.destroy()
}

/** Not by URL, to which the target '//' is a host without a name. Proxies may send a whole address. */
const rewriteUrl = ({ url }: { url?: string }): string => (url ?? '/').replace(/^https?:\/\/[^/]*/i, '') || '/'

/** A server without routes. @throws ERR_ARGUMENT where other machines could ask and there is no key */
export function createApp(options: AppOptions): FastifyInstance {
  const access = new Access(options)
  const timeouts = options.timeouts ?? { headers: 10_000, request: 60_000, response: 60_000 }
  const { headers: headersTimeout, request: requestTimeout } = timeouts
  const app = fastify({
    bodyLimit,
    requestTimeout,
    keepAliveTimeout: 10_000,
    http: {
      headersTimeout,
      connectionsCheckingInterval: Math.min(1000, headersTimeout / 4),
      maxHeaderSize: 16 << 10,
    },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error, _, reply) => void answerError(reply as FastifyReply, error),
    rewriteUrl,
    // Its own message says too little, and requests that came before the end are answered.
    return503OnClosing: false,
  })
  app.server.maxConnections = maxConnections
  app.decorate('tellFault', (where: string, error: unknown) => options.log?.(`${where}: ${faultText(error)}`))
  const methods = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const known = methods.get(url) ?? new Set<string>()
    methods.set(url, known)
    for (const name of [method].flat()) known.add(name)
  })
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(securityHeaders)
    checkAccess(access, request)
  })
  // While an answer is waited for, a connection may rest as long as it takes; from its first byte on it is to be read.
  app.addHook('onSend', async ({ raw }) => void raw.socket.setTimeout(timeouts.response))
  app.addHook('onResponse', async (request, reply) => {
    options.onAnswer?.(request.routeOptions.url ?? 'unknown', reply.statusCode, reply.elapsedTime / 1000)
  })
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]
    const known = methods.get(path)
    if (!known) throw refusal(404, `there is nothing at ${request.method} ${path.slice(0, 100)}`, 'not_found')
    reply.header('allow', [...known].join(', '))
    throw refusal(405, `${path} takes ${[...known].join(' or ')}, not ${request.method}`, 'method_not_allowed')
  })
  app.setErrorHandler((error, request, reply) => {
    const answer = answerError(reply, error)
    if (answer.status === 500) app.tellFault(`${request.method} ${request.routeOptions.url}`, error)
    return reply
  })
  return app
}

const faultText = (error: unknown): string =>
  error instanceof Error ? ((process.env.STAR_DEBUG ? error.stack : undefined) ?? error.message) : String(error)

function answerError(reply: FastifyReply, error: unknown): HttpError {
  const answer = asHttpError(error)
  if (answer.retryAfter !== undefined) reply.header('retry-after', answer.retryAfter)
  // Browsers ask for a password at this, and send it with all that a page asks for.
  if (answer.status === 401) reply.header('www-authenticate', 'Basic realm="star-t2i", charset="UTF-8"')
  // A body that is not read would be taken for the next request.
  if (!reply.request.raw.complete) reply.header('connection', 'close')
  reply.status(answer.status).headers(securityHeaders).send(answer.body)
  return answer
}

/** Opens the port. @returns the server's address @throws ERR_COMM where it cannot be opened */
export async function listen(app: FastifyInstance, { host, port }: AppOptions): Promise<string> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    await app.close()
    throw new StarError(
      'ERR_COMM',
      `${host}:${port} cannot be opened: ${(error as Error).message}; choose another --port`,
      { cause: error },
    )
  }
  const { port: own } = app.server.address() as AddressInfo
  return `http://${host.includes(':') ? `[${host}]` : host}:${own}/`
}

/** Takes no more connections, and ends those that are still open after a moment. */
export async function shutDown(app: FastifyInstance): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), 500)
  await app.close()
  clearTimeout(timer)
}

/** Fires when the client of a request is gone before its answer was sent. */
export function clientGone({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController()
  raw.once('close', () => {
    if (!raw.writableFinished) controller.abort(new Error('the client is gone'))
  })
  return controller.signal
}
