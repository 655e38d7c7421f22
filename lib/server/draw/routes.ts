/** What every server that draws answers: pictures, models, the page, and the documentation of it all. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { packageRoot } from '../../native/index.js'
import { addEdits } from '../api/edits.js'
import { addGenerations } from '../api/generations.js'
import { addModels } from '../api/models.js'
import { docsPage, openApiDocument } from '../api/openapi.js'
import { addPictureFiles, PictureStore } from '../api/picture-store.js'
import { addPictures, mediaTypes } from '../api/pictures.js'
import type { Operations } from '../http/operation.js'
import { addPageFiles } from '../page-files.js'
import type { Jobs } from './jobs.js'
import { drawPageFiles } from './page.js'
import type { ModelPool } from './pool.js'

export interface DrawingParts {
  app: FastifyInstance
  operations: Operations
  pool: ModelPool
  jobs: Jobs
}

/** OpenAI's API, and what the page needs besides. */
export function addDrawing({ app, operations, pool, jobs }: DrawingParts): void {
  const types = [...mediaTypes, 'multipart/form-data']
  app.addContentTypeParser(types, { parseAs: 'buffer' }, async (_: unknown, body: Buffer) => body)
  const store = new PictureStore()
  addGenerations(operations, pool, jobs, store)
  addEdits(operations, pool, jobs, store)
  addPictureFiles(operations, store)
  addPictures(operations)
  addModels(operations, pool)
}

/**
 * The page that draws, and the documentation of the operations so far.
 * @param at address of the page
 * @param secured an API key is asked for
 */
export function addDrawPages({ app, operations }: DrawingParts, at: string, secured: boolean): void {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  const document = openApiDocument(operations.list, { version, secured })
  app.get('/openapi.json', async () => document)
  const docs = { type: 'text/html; charset=utf-8', body: Buffer.from(docsPage(operations.list, at)) }
  addPageFiles(app, new Map([...drawPageFiles(at), ['/docs', docs]]))
}
