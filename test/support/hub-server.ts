/** A server that speaks as much of the Hugging Face Hub as downloads need, and can be made to fail. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const commit = '0123456789abcdef0123456789abcdef01234567'

export interface HubBehaviour {
  /** Token without which nothing is given out. */
  token?: string
  /** Ends the connection after so many bytes of a file, so many times. */
  cutAfter?: number
  cuts?: number
  /** Ignores ranges, as some mirrors do. */
  wholeOnly?: boolean
  /** Sends other bytes than it listed. */
  damaged?: boolean
  /** Address of another server that files are fetched from. */
  storage?: string
  /** Status of every answer about the model. */
  status?: number
}

export interface HubRequest {
  method: string
  path: string
  range: string | undefined
  authorization: string | undefined
}

/** Large files are listed with the SHA-256 of their content, small ones with git's hash. */
const isLarge = (data: Buffer): boolean => data.length > 1000
const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex')
const gitHash = (data: Buffer): string => createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex')
export const hashOf = (data: Buffer): string => (isLarge(data) ? sha256(data) : gitHash(data))

export class HubServer {
  readonly requests: HubRequest[] = []
  behaviour: HubBehaviour = {}
  readonly #server: Server

  private constructor(
    readonly id: string,
    readonly files: Map<string, Buffer>,
  ) {
    this.#server = createServer((request, response) => this.#answer(request, response))
  }

  static async start(id: string, files: Record<string, Buffer>): Promise<HubServer> {
    const hub = new HubServer(id, new Map(Object.entries(files)))
    await new Promise<void>((resolve) => hub.#server.listen(0, '127.0.0.1', resolve))
    return hub
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Requests for content, without the library's look at the first byte. */
  get downloads(): HubRequest[] {
    return this.requests.filter(({ path, range }) => path.includes('/resolve/') && range !== 'bytes=0-0')
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url ?? '', this.url).pathname)
    const { range, authorization } = request.headers
    this.requests.push({ method: request.method ?? '', path, range, authorization })
    const { token, status } = this.behaviour
    const file = this.files.get(path.slice(`/${this.id}/resolve/${commit}/`.length))
    if (token && authorization !== `Bearer ${token}`) json(response, 401, { error: 'Invalid credentials' })
    else if (status) json(response, status, { error: 'as the test wants it' })
    else if (path === `/api/models/${this.id}/revision/main`)
      json(response, 200, { _id: '1', id: this.id, sha: commit })
    else if (path === `/api/models/${this.id}/tree/${commit}`) json(response, 200, this.#tree())
    else if (path.startsWith(`/${this.id}/resolve/${commit}/`) && file) this.#send(file, path, range, response)
    else json(response, 404, { error: 'Repository not found' })
  }

  #tree(): unknown[] {
    return Array.from(this.files, ([path, data]) => ({
      type: 'file',
      path,
      size: data.length,
      oid: isLarge(data) ? 'f'.repeat(40) : gitHash(data),
      ...(isLarge(data) && { lfs: { oid: sha256(data), size: data.length, pointerSize: 130 } }),
    }))
  }

  #send(file: Buffer, path: string, range: string | undefined, response: ServerResponse): void {
    const { storage, damaged, wholeOnly, cutAfter } = this.behaviour
    if (storage) {
      response.writeHead(302, { location: `${storage}${path}` }).end()
      return
    }
    const data = damaged ? Buffer.from(file).fill(7, file.length - 2) : file
    const [begin, last] = (range ?? 'bytes=0-').slice('bytes='.length).split('-')
    const end = last === '' ? data.length : Math.min(data.length, Number(last) + 1)
    const probe = range === 'bytes=0-0'
    const part = wholeOnly && !probe ? data : data.subarray(Number(begin), end)
    response.writeHead(wholeOnly && !probe ? 200 : 206, {
      etag: `"${hashOf(file)}"`,
      'content-length': part.length,
      ...(!(wholeOnly && !probe) && { 'content-range': `bytes ${begin}-${end - 1}/${data.length}` }),
    })
    if (!probe && cutAfter !== undefined && (this.behaviour.cuts ?? 0) > 0) {
      this.behaviour.cuts = (this.behaviour.cuts ?? 0) - 1
      response.write(part.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 20))
      return
    }
    response.end(part)
  }
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}
