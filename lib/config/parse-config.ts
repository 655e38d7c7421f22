/** Checks a configuration read from JSON against its schema and says in one line what is wrong with it. */
import { z } from 'zod'
import { StarError } from '../native/error.js'
import { parseJson, readJson } from './json.js'
import { nearest } from './nearest.js'

type Path = readonly PropertyKey[]
type Hints = Readonly<Record<string, string>>

/** Looks through optional, nullable, default, read-only, lazy and piped schemas. */
function unwrap(schema: unknown): unknown {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly ||
    schema instanceof z.ZodLazy
  )
    return unwrap(schema.unwrap())
  if (schema instanceof z.ZodPipe) return unwrap(schema.in instanceof z.ZodTransform ? schema.out : schema.in)
  return schema
}

/** The schemas of the objects that may stand at `path`: several where unions are on the way. */
function objectsAt(schema: unknown, path: Path): z.ZodObject[] {
  const inner = unwrap(schema)
  if (inner instanceof z.ZodUnion) return inner.options.flatMap((option) => objectsAt(option, path))
  const [key, ...rest] = path
  if (inner instanceof z.ZodObject) {
    if (key === undefined) return [inner]
    return Object.hasOwn(inner.shape, key) ? objectsAt(inner.shape[key as string], rest) : []
  }
  if (key !== undefined && inner instanceof z.ZodArray) return objectsAt(inner.element, rest)
  if (key !== undefined && inner instanceof z.ZodRecord) return objectsAt(inner.valueType, rest)
  return []
}

/** The fixed values that may stand at `path`. */
function literalsAt(schema: unknown, path: Path): unknown[] {
  const key = path[path.length - 1]
  return objectsAt(schema, path.slice(0, -1)).flatMap((object) => {
    const inner = unwrap(object.shape[key as string])
    return inner instanceof z.ZodLiteral ? [...inner.values] : []
  })
}

/** Every key of the schema as a dotted path. */
function allPaths(schema: unknown, prefix = ''): string[] {
  return objectsAt(schema, []).flatMap((object) =>
    Object.entries(object.shape).flatMap(([key, value]) => [prefix + key, ...allPaths(value, `${prefix}${key}.`)]),
  )
}

function valueAt(json: unknown, path: Path): unknown {
  let value = json
  for (const key of path) {
    if (value === null || typeof value !== 'object') return undefined
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value
}

const dotted = (path: Path): string =>
  path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text ? `${text}.${String(key)}` : String(key)),
    '',
  )

/** Values that JSON has no word for, as error messages show them. */
function wordFor(value: unknown): string | undefined {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'symbol') return String(value)
  return undefined
}

/** A value as error messages show it: JSON, cut to a readable length. */
export function shown(value: unknown): string {
  let text: string | undefined
  try {
    text = wordFor(value) ?? JSON.stringify(value, (_, inner) => wordFor(inner) ?? inner)
  } catch {
    text = 'an object that contains itself'
  }
  text ??= String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

function unknownKey(schema: unknown, path: Path, key: string, hints: Hints): string {
  const name = dotted([...path, key])
  if (Object.hasOwn(hints, name)) return `unknown key "${name}": ${hints[name]}`
  const here = [...new Set(objectsAt(schema, path).flatMap((object) => Object.keys(object.shape)))]
  // A key that is known elsewhere in the file was put in the wrong place; otherwise it is misspelt.
  const elsewhere = allPaths(schema).find((candidate) => candidate.split('.').at(-1) === key)
  if (elsewhere === name) return `unknown key "${name}": only another kind has it: remove it, or choose that kind`
  const suggestion = elsewhere ?? nearest(key, here)
  const hint = suggestion === undefined ? 'there is no key to be set here: remove it' : `did you mean "${suggestion}"?`
  return `unknown key "${name}": ${hint}`
}

/** "Invalid input: expected X, received Y" → "X": what was received is shown as the value itself. */
const expectation = (issue: z.core.$ZodIssue): string =>
  issue.message
    .replace(/^(Invalid input|Invalid option|Too small|Too big): /, '')
    .replace(/, received .*$/, '')
    .replace(/^expected /, '')

/** What a schema that refused a whole value expected. */
export function expectationOf(issues: readonly z.core.$ZodIssue[]): string {
  const all = issues.flatMap((issue) =>
    issue.code === 'invalid_union' ? issue.errors.flatMap((errors) => errors.map(expectation)) : [expectation(issue)],
  )
  return [...new Set(all)].join(' or ')
}

function describe(schema: unknown, json: unknown, issue: z.core.$ZodIssue, hints: Hints, base: Path = []): string[] {
  const path = [...base, ...issue.path]
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(schema, path, key, hints))
  const given = valueAt(json, path)
  const name = path.length > 0 ? `"${dotted(path)}"` : 'the configuration'
  if (issue.code === 'invalid_union') {
    // The branch with the fewest complaints is the one that was meant; a branch that fails as a whole was not.
    const branches = issue.errors.filter((errors) =>
      errors.some((error) => error.path.length > 0 || error.code === 'unrecognized_keys'),
    )
    branches.sort((a, b) => a.length - b.length)
    if (branches.length > 0) return branches[0].flatMap((inner) => describe(schema, json, inner, hints, path))
    // A discriminated union complains of its key alone, whose values the schema knows.
    const choices = issue.errors
      .flatMap((errors) => errors.map(expectation))
      .concat(literalsAt(schema, path).map(shown))
    const expected = [...new Set(choices)].join(' or ')
    return [`${name} is ${given === undefined ? 'missing' : shown(given)}, expected ${expected}`]
  }
  if (issue.code === 'custom') return [path.length > 0 ? `${name}: ${issue.message}` : issue.message]
  if (given === undefined) return [`${name} is missing, expected ${expectation(issue)}`]
  return [`${name} is ${shown(given)}, expected ${expectation(issue)}`]
}

/**
 * Parses `json` (a value out of JSON.parse) by `schema`, with defaults filled in.
 * @param source file or option the value came from, as the error names it
 * @param options.hints what is said of unknown keys that others than the nearest known one explain, by dotted path
 * @throws ERR_CONFIG naming each wrong key, what it holds and what was expected; for an unknown key the nearest known one
 */
export function parseConfig<S extends z.ZodType>(
  schema: S,
  json: unknown,
  source: string,
  { hints = {} }: { hints?: Hints } = {},
): z.output<S> {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const problems = result.error.issues.flatMap((issue) => describe(schema, json, issue, hints))
  const listed = problems.slice(0, 5).join('; ')
  const more = problems.length > 5 ? `; and ${problems.length - 5} more` : ''
  throw new StarError('ERR_CONFIG', `${source}: ${listed}${more}. Correct this and run it again`)
}

/**
 * Parses the text of a JSON file by `schema`.
 * @throws ERR_CONFIG where it is not JSON (with line and column) or does not fit the schema
 */
export function parseConfigText<S extends z.ZodType>(schema: S, text: string, source: string): z.output<S> {
  return parseConfig(schema, parseJson(text, source), source)
}

/**
 * Reads and parses a JSON file by `schema`.
 * @throws ERR_FILE where it cannot be read, ERR_CONFIG as `parseConfigText`
 */
export function readConfigFile<S extends z.ZodType>(schema: S, file: string): z.output<S> {
  return parseConfig(schema, readJson(file), file)
}
