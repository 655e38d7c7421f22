/** Server-sent events (WHATWG HTML, section 9.2) as the answer to a request. */
import type { FastifyReply } from 'fastify'

/** Bytes that may lie unread at a client; one further behind has stopped reading. */
const mostUnread = 16 << 20
/** Milliseconds after which a connection is closed on which nothing could be written. */
const patience = 60_000
/** Milliseconds between signs of life, which keep proxies from closing the connection. */
const heartbeat = 15_000

export class EventStream {
  readonly #reply: FastifyReply
  readonly #timer: NodeJS.Timeout

  constructor(reply: FastifyReply) {
    reply.hijack()
    this.#reply = reply
    const headers = reply.getHeaders() as Record<string, string>
    reply.raw.writeHead(200, { ...headers, 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    reply.raw.socket?.setTimeout(patience)
    reply.raw.write(': \n\n')
    this.#timer = setInterval(() => this.#write(': \n\n'), heartbeat)
    this.#timer.unref()
    reply.raw.once('close', () => clearInterval(this.#timer))
  }

  /** Sends one event; `name` is its type where it is no plain message. */
  send(data: unknown, name?: string): void {
    this.#write(`${name === undefined ? '' : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`)
  }

  #write(text: string): void {
    const { raw } = this.#reply
    if (raw.writableEnded || raw.destroyed) return
    if (raw.writableLength > mostUnread) raw.destroy()
    else raw.write(text)
  }

  end(): void {
    clearInterval(this.#timer)
    this.#reply.raw.end()
  }
}
