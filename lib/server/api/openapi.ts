/** The OpenAPI 3.1 document of a server, made from the schemas that check its requests, and a page that shows it. */
import { z } from 'zod'
import type { Operation } from '../http/operation.js'

type Json = Record<string, unknown>

const errorSchema = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable().describe('the field that is wrong'),
    code: z.string().nullable(),
  }),
})

const statusTexts: Readonly<Record<number, string>> = {
  400: 'Something in the request is wrong',
  401: 'The API key is missing or wrong',
  404: 'It is not there',
  413: 'The body is too large',
  415: 'A body of that type is not taken',
  429: 'The queue is full; Retry-After says when to try again',
  501: 'Not available yet',
  503: 'The model is being loaded, or the server is stopping',
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io }) as Json
  return rest
}

const content = (type: string, schema: Json): Json => ({ content: { [type]: { schema } } })

function answerOf({ answer, stream }: Operation): Json {
  if (answer === undefined) return { description: 'Done' }
  const body =
    typeof answer === 'string'
      ? content(answer, { type: 'string' })
      : content('application/json', jsonSchema(answer, 'output'))
  if (stream) Object.assign(body.content as Json, { [stream]: { schema: { type: 'string' } } })
  return { description: 'Done', ...body }
}

function requestBody({ body, bytes }: Operation): Json | undefined {
  if (body) return { required: true, ...content('application/json', jsonSchema(body, 'input')) }
  if (!bytes) return undefined
  return {
    required: true,
    content: Object.fromEntries(bytes.map((type) => [type, { schema: { type: 'string', format: 'binary' } }])),
  }
}

function parameters({ url, query }: Operation): Json[] {
  const inPath = [...url.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  if (!query) return inPath
  const { properties = {}, required = [] } = jsonSchema(query, 'input') as {
    properties?: Json
    required?: string[]
  }
  const inQuery = Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema,
  }))
  return [...inPath, ...inQuery]
}

/** The document. */
export function openApiDocument(
  operations: readonly Operation[],
  { version, secured }: { version: string; secured: boolean },
): Json {
  const paths: Record<string, Json> = {}
  for (const operation of operations) {
    const { method, url, tag, summary, description, statuses = [], open } = operation
    const path = url.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][method.toLowerCase()] = {
      tags: [tag],
      summary,
      description,
      operationId: `${method.toLowerCase()}${path.replaceAll(/[^a-z0-9]+/gi, '_')}`,
      parameters: parameters(operation),
      requestBody: requestBody(operation),
      responses: {
        200: answerOf(operation),
        ...Object.fromEntries(
          statuses.map((status) => [
            status,
            {
              description: statusTexts[status],
              ...content('application/json', { $ref: '#/components/schemas/Error' }),
            },
          ]),
        ),
      },
      security: secured && open ? [] : undefined,
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'star-t2i',
      version,
      description: 'Pictures of prompts by STAR, the scale-wise text-to-image transformer.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Error: jsonSchema(errorSchema, 'output') },
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        password: { type: 'http', scheme: 'basic', description: 'any name, the API key as password' },
      },
    },
    security: secured ? [{ bearer: [] }, { password: [] }] : [],
  }
}

const escaped = (text: unknown): string =>
  String(text).replaceAll(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)

/** A type in words: `"png" or "jpeg"`, `integer from 1 to 32`, `list of string`. */
function typeText(schema: Json): string {
  const any = (schema.anyOf ?? schema.oneOf) as Json[] | undefined
  if (any)
    return any
      .map(typeText)
      .filter((text) => text !== 'null')
      .join(' or ')
  if (schema.enum) return (schema.enum as unknown[]).map((value) => JSON.stringify(value)).join(' or ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.type === 'array') return `list of ${typeText((schema.items as Json | undefined) ?? {})}`
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number }
  const range = minimum !== undefined && maximum !== undefined && maximum < 1e10 ? ` from ${minimum} to ${maximum}` : ''
  const types = [schema.type ?? 'anything'].flat().filter((type) => type !== 'null')
  return `${types.join(' or ')}${range}`
}

function fields(schema: Json | undefined): string {
  const { properties, required = [] } = (schema ?? {}) as { properties?: Record<string, Json>; required?: string[] }
  if (!properties) return ''
  const rows = Object.entries(properties).map(
    ([name, own]) =>
      `<tr><th scope="row"><code>${escaped(name)}</code>${required.includes(name) ? ' <em>required</em>' : ''}</th>` +
      `<td>${escaped(typeText(own))}</td><td>${escaped(own.description ?? '')}</td></tr>`,
  )
  return `<table>${rows.join('')}</table>`
}

/**
 * The operations of a server as a page of HTML, without scripts.
 * @param drawPage address of the page that draws
 */
export function docsPage(operations: readonly Operation[], drawPage: string): string {
  const tags = [...new Set(operations.map(({ tag }) => tag))]
  const chapter = (tag: string): string => {
    const parts = operations
      .filter((operation) => operation.tag === tag)
      .map((operation) => {
        const { method, url, summary, description, body, bytes, query, answer, statuses = [] } = operation
        const part = (title: string, html: string): string => (html ? `<h4>${title}</h4>${html}` : '')
        return (
          `<details id="${escaped(`${method}${url}`)}"><summary><b>${method}</b> <code>${escaped(url)}</code> <span>${escaped(summary)}</span></summary>` +
          (description ? `<p>${escaped(description)}</p>` : '') +
          part(
            'Body',
            body ? fields(jsonSchema(body, 'input')) : bytes ? `<p>bytes: ${escaped(bytes.join(', '))}</p>` : '',
          ) +
          part('Query', query ? fields(jsonSchema(query, 'input')) : '') +
          part(
            'Answer',
            answer === undefined
              ? ''
              : typeof answer === 'string'
                ? `<p>${escaped(answer)}</p>`
                : fields(jsonSchema(answer, 'output')),
          ) +
          part(
            'Other statuses',
            statuses.map((status) => `<p>${status}: ${escaped(statusTexts[status])}</p>`).join(''),
          ) +
          '</details>'
        )
      })
    return `<section><h2>${escaped(tag)}</h2>${parts.join('')}</section>`
  }
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' +
    '<meta name="color-scheme" content="light dark"><title>API – star-t2i</title><link rel="icon" href="/icon.svg">' +
    '<link rel="stylesheet" href="/base.css"><link rel="stylesheet" href="/docs.css"></head><body><header><h1>star-t2i <span>API</span></h1>' +
    `<nav><a href="${drawPage}">Draw</a> <a href="/openapi.json">openapi.json</a></nav></header>` +
    `<main>${tags.map(chapter).join('')}</main></body></html>`
  )
}
