/** A server of a tiny model on a free port, for tests. */
import { join } from 'node:path'
import { type DrawServer, type ServeOptions, serveModels } from '../../lib/server/index.js'
import { writeTinyModel } from './tiny-model.js'

export interface TestServer {
  server: DrawServer
  address: string
  log: string[]
}

type Test = { testdir(content?: Record<string, never>): string; teardown(end: () => unknown): void }

/** Writes the model folder `tiny` and serves it; the test's end closes the server. */
export async function tinyServer(t: Test, options: Partial<ServeOptions> = {}): Promise<TestServer> {
  const folder = t.testdir({})
  const model = join(folder, 'tiny')
  writeTinyModel(model)
  const log: string[] = []
  const server = await serveModels({
    models: [model],
    host: '127.0.0.1',
    port: 0,
    load: { device: 'cpu' },
    log: (line) => log.push(line),
    ...options,
  })
  t.teardown(() => server.close())
  return { server, address: server.address, log }
}

/** Waits for what comes to be. */
export async function until(what: string, reached: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !(await reached()); await new Promise((resolve) => setTimeout(resolve, 20)))
    if (Date.now() > end) throw new Error(`not seen within 30 s: ${what}`)
}

export const post = (
  address: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> =>
  fetch(new URL(path, address), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

/** The value of a line of /metrics. */
export async function metric(address: string, line: string): Promise<number> {
  const text = await (await fetch(new URL('/metrics', address))).text()
  const found = text.split('\n').find((candidate) => candidate.startsWith(`${line} `))
  return found === undefined ? Number.NaN : Number(found.slice(line.length + 1))
}
