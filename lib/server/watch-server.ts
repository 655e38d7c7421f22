/** Serves the page of some runs: its files, what the runs hold so far, and every second what came since. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { StarError } from '../native/error.js'
import { type PageFile, pageFiles } from './page-files.js'
import type { RunView } from './run-view.js'

export interface WatchOptions {
  host: string
  /** 0: a free one. */
  port: number
  /** Milliseconds between looks at the run folders. */
  interval?: number
}

export interface WatchServer {
  readonly address: string
  close(): Promise<void>
}

/** @throws ERR_COMM when the port cannot be opened */
export async function serveRuns(runs: readonly RunView[], options: WatchOptions): Promise<WatchServer> {
  const files = pageFiles()
  const listeners = new Set<ServerResponse>()
  let problem = ''

  const find = (pathname: string): PageFile | null => {
    const file = files.get(pathname)
    if (file) return file
    if (pathname === '/runs') {
      look()
      return { type: types.json, body: Buffer.from(JSON.stringify(runs.map((run) => run.data()))) }
    }
    const [, place, run, set, name] = pathname.split('/').map(decodeURIComponent)
    const picture = place === 'pictures' ? runs[Number(run)]?.picture(set, name) : null
    return picture ? { type: types.png, body: picture } : null
  }

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    // Not by URL, to which the target '//' is a host without a name. Proxies may send a whole address.
    const pathname = (request.url ?? '/').replace(/^https?:\/\/[^/]*/i, '').split(/[?#]/, 1)[0]
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      refuse(response, 405)
    } else if (pathname === '/events') {
      response.writeHead(200, { ...headers, 'Content-Type': 'text/event-stream' })
      response.write(': \n\n')
      listeners.add(response)
      response.on('close', () => listeners.delete(response))
    } else {
      const found = find(pathname)
      if (found) send(response, found)
      else refuse(response, 404)
    }
  }

  /** Reads what is new and tells every page. */
  const look = (): void => {
    runs.forEach((run, i) => {
      const { changes, pictures } = run.update()
      if (Object.keys(changes).length === 0 && !pictures) return
      const event = `data: ${JSON.stringify({ run: i, changes, pictures })}\n\n`
      for (const listener of listeners) listener.write(event)
    })
  }

  const server = createServer((request, response) => {
    try {
      answer(request, response)
    } catch (error) {
      if (error instanceof URIError) refuse(response, 400)
      else refuse(response, 500, error instanceof Error ? error.message : String(error))
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new StarError(
          'ERR_COMM',
          `${options.host}:${options.port} cannot be opened: ${error.message}; choose another --port`,
        ),
      ),
    )
    server.listen(options.port, options.host, resolve)
  })
  const timer = setInterval(() => {
    try {
      look()
      problem = ''
    } catch (error) {
      // A folder that cannot be read for a moment (a network disk) is tried again; the same fault is told once.
      const message = error instanceof Error ? error.message : String(error)
      if (message !== problem) console.error(`star watch: ${message}`)
      problem = message
    }
  }, options.interval ?? 1000)
  const { port } = server.address() as AddressInfo
  return {
    address: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}/`,
    close: () => {
      clearInterval(timer)
      for (const listener of listeners) listener.end()
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

const types = { json: 'application/json; charset=utf-8', png: 'image/png' }

/** The page takes scripts, styles and pictures from here alone. */
const headers = {
  'Cache-Control': 'no-cache',
  'Content-Security-Policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
}

function send(response: ServerResponse, { type, body }: PageFile): void {
  response.writeHead(200, { ...headers, 'Content-Type': type, 'Content-Length': body.length })
  response.end(body)
}

function refuse(response: ServerResponse, status: number, text = ''): void {
  response.writeHead(status, { ...headers, 'Content-Type': 'text/plain; charset=utf-8' })
  response.end(text)
}
