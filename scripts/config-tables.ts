/** The tables of docs/configuration.md, from the JSON Schema of run configurations. */
import type { JsonSchema as Schema } from '../lib/train/json-schema.js'
import type { PublishedKey } from '../lib/train/published/keys.js'

/** A key and its schema, by its dotted name. */
interface Row {
  key: string
  schema: Schema
  required: boolean
}

function rowsOf({ properties = {}, required = [] }: Schema, prefix = ''): Row[] {
  return Object.entries(properties).flatMap(([key, schema]) => {
    if (key === '$schema') return []
    const row = { key: prefix + key, schema, required: required.includes(key) }
    return schema.properties ? rowsOf(schema, `${prefix}${key}.`) : [row]
  })
}

function range({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }: Schema): string {
  const bounds = [
    minimum !== undefined && `≥ ${minimum}`,
    exclusiveMinimum !== undefined && `> ${exclusiveMinimum}`,
    maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER && `≤ ${maximum}`,
    exclusiveMaximum !== undefined && `< ${exclusiveMaximum}`,
  ].filter(Boolean)
  // The bounds of safe integers say nothing to a reader.
  return bounds.filter((bound) => !String(bound).includes(String(Number.MIN_SAFE_INTEGER))).join(', ')
}

export function typeOf(schema: Schema): string {
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``
  if (schema.enum) return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(', ')
  const choices = schema.anyOf ?? schema.oneOf
  if (choices && !schema.properties) return [...new Set(choices.map(typeOf))].join(' or ')
  if (schema.prefixItems) return `[${schema.prefixItems.map(typeOf).join(', ')}]`
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(schema.items) : 'values'}`
  const names: Record<string, string> = { string: 'string', boolean: 'boolean', integer: 'integer' }
  return [names[schema.type ?? ''] ?? schema.type ?? 'any', range(schema)].filter(Boolean).join(' ')
}

const cell = (text: string): string => text.replaceAll('|', '\\|')

function table(header: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.map(cell).join(' | ')} |`
  return [line(header), `|${header.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

const standard = ({ schema, required }: Row): string =>
  schema.default !== undefined ? `\`${JSON.stringify(schema.default)}\`` : required ? 'required' : ''

const same = (a: Row, b: Row): boolean => a.key === b.key && JSON.stringify(a.schema) === JSON.stringify(b.schema)

/** Keys of this program: those of all kinds in one table, then what each kind has besides. */
export function ownTables(kinds: readonly Schema[]): string {
  const all = kinds.map((schema) => rowsOf(schema))
  const shared = all[0].filter((row) => all.every((rows) => rows.some((other) => same(row, other))))
  const render = (rows: readonly Row[]): string =>
    table(
      ['key', 'value', 'default', 'meaning'],
      rows.map((row) => [`\`${row.key}\``, typeOf(row.schema), standard(row), row.schema.description ?? '']),
    )
  const sections = kinds.map(({ title }, i) => {
    const rows = all[i].filter((row) => !shared.some((other) => same(row, other)))
    return `### Of a ${title}\n\n${render(rows)}`
  })
  return [`### Of every kind\n\n${render(shared)}`, ...sections].join('\n\n')
}

/** Keys of the reference implementation, with what stands for each here. */
export function publishedTable(schema: Schema, here: Readonly<Record<PublishedKey, string>>): string {
  const flat = rowsOf(schema)
  const counterpart = (key: string): string => (here as Record<string, string>)[key.split('.')[0]]
  return table(
    ['key', 'value', 'default', 'meaning', 'here'],
    flat.map((row) => [
      `\`${row.key}\``,
      typeOf(row.schema),
      standard(row),
      row.schema.description ?? '',
      counterpart(row.key),
    ]),
  )
}

/** The page with its tables replaced: what stands between `<!-- NAME -->` and `<!-- end of NAME -->`. */
export function withTables(page: string, tables: Readonly<Record<string, string>>): string {
  return Object.entries(tables).reduce((text, [name, content]) => {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`]
    const [from, to] = [text.indexOf(begin), text.indexOf(end)]
    if (from < 0 || to < from) throw new Error(`the page has no ${begin} … ${end}`)
    return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`
  }, page)
}
