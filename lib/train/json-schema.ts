/** The JSON Schema of run configurations, made from the schemas that check them. */
import { z } from 'zod'
import { runSpecs } from './kinds/index.js'
import { publishedSchema } from './published/keys.js'

/** The words of JSON Schema that ours is made of. */
export interface JsonSchema {
  title?: string
  type?: string
  description?: string
  default?: unknown
  const?: unknown
  enum?: unknown[]
  minimum?: number
  exclusiveMinimum?: number
  maximum?: number
  exclusiveMaximum?: number
  items?: JsonSchema
  prefixItems?: JsonSchema[]
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  required?: string[]
  properties?: Record<string, JsonSchema>
  additionalProperties?: boolean
}

export interface RunJsonSchema extends JsonSchema {
  $schema: string
  if: JsonSchema
  then: { oneOf: JsonSchema[] }
  else: JsonSchema
}

/** A file of that kind may name this schema, which is no part of the run. */
function asFile(schema: z.ZodType, title: string): JsonSchema {
  const { $schema: _, properties, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as z.core.JSONSchema.BaseSchema
  return { title, ...rest, properties: { $schema: { type: 'string' }, ...properties } } as JsonSchema
}

/** What a run configuration may be: a file of this program, by its kind, or one of the reference implementation. */
export function runJsonSchema(): RunJsonSchema {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'star-t2i run configuration',
    if: { required: ['kind'] },
    // biome-ignore lint/suspicious/noThenProperty: a key word of JSON Schema
    then: { oneOf: Object.values(runSpecs).map(({ schema, title }) => asFile(schema, title)) },
    else: asFile(publishedSchema, 'configuration of the reference implementation'),
  }
}
