/** Files of pages, which are read once and served from memory. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'

export interface PageFile {
  type: string
  body: Buffer
}

const types: Readonly<Record<string, string>> = {
  html: 'text/html',
  css: 'text/css',
  js: 'text/javascript',
  svg: 'image/svg+xml',
}

/** A file under the name that it has in the address. */
export const pageFile = (name: string, source: string | URL): PageFile => ({
  type: `${types[name.slice(name.lastIndexOf('.') + 1)]}; charset=utf-8`,
  body: readFileSync(source),
})

/** A file of the pages, compiled to this folder's `page`. */
export const ownFile = (name: string): URL => new URL(`page/${name}`, import.meta.url)

/** Serves files by their path in the address. A browser asks whether one that it has is still the same. */
export function addPageFiles(app: FastifyInstance, files: ReadonlyMap<string, PageFile>): void {
  for (const [path, { type, body }] of files) {
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
    app.get(path, (request, reply) => {
      reply.headers({ etag, 'cache-control': 'no-cache' })
      if (request.headers['if-none-match'] === etag) reply.status(304).send()
      else reply.type(type).send(body)
    })
  }
}
