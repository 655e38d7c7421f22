/**
 * The one entrance for run configurations: files of this program (with a `kind`) and of the published one, with what the
 * command line changes in them.
 */
import { basename } from 'node:path'
import type { z } from 'zod'
import { readJson } from '../config/json.js'
import { nearest } from '../config/nearest.js'
import { expectationOf, parseConfig, shown } from '../config/parse-config.js'
import { StarError } from '../native/error.js'
import { type ExplainedKey, explainOwn, explainPublished } from './explain.js'
import { type RunConfig, type RunKind, runSchema, runSpecs } from './kinds/index.js'
import { type PublishedKey, publishedFlags, publishedSchema } from './published/keys.js'
import { type PublishedKind, translate } from './published/translate.js'

type Json = Record<string, unknown>

export interface ReadOptions {
  /** The kind of training that was asked for. A file of the reference implementation does not say its own. */
  kind?: RunKind
  /** Flags of the reference implementation: key → text. */
  flags?: ReadonlyMap<string, string>
  /** Dotted keys of the file → text, which is JSON or taken as it is. */
  set?: readonly (readonly [key: string, text: string])[]
}

export interface ReadRun {
  config: RunConfig
  /** What the file says that has no effect here, a line each. */
  notices: string[]
  /** How each key was understood. */
  explained: readonly ExplainedKey[]
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Keys that only files of this program have. */
const ownKeys = new Set(
  Object.values(runSpecs)
    .flatMap(({ schema }) => Object.keys(schema.shape))
    .filter((key) => !Object.hasOwn(publishedSchema.shape, key)),
)

/** Whether this is a file of the reference implementation: one without a kind, unless its keys say that the kind was forgotten. */
const isPublished = (json: Json): boolean => !('kind' in json) && !Object.keys(json).some((key) => ownKeys.has(key))

/** What a text of the command line may stand for, the likeliest first. */
function readings(text: string): unknown[] {
  const word = text.trim()
  if (/^(true|false)$/i.test(word)) return [/^true$/i.test(word), text]
  if (/^(none|null)$/i.test(word)) return [null, text]
  if (word !== '' && Number.isFinite(Number(word))) return [Number(word), text]
  if (/^[[{"]/.test(word)) {
    try {
      return [JSON.parse(word), text]
    } catch {
      return [text]
    }
  }
  return [text]
}

function flagValue(key: PublishedKey, text: string): unknown {
  const schema: z.ZodType = publishedSchema.shape[key]
  const values = readings(text)
  for (const value of values) if (schema.safeParse(value).success) return value
  const { issues } = schema.safeParse(values[0]).error!
  throw new StarError('ERR_ARGUMENT', `--${key} is ${shown(text)}, expected ${expectationOf(issues)}`)
}

/** The values of the flags, each checked by itself. */
function flagValues(flags: ReadonlyMap<string, string>): Json {
  return Object.fromEntries(
    [...flags].map(([name, text]) => {
      const key = publishedFlags.find((flag) => flag === name.replaceAll('-', '_'))
      if (!key) {
        const near = nearest(name, publishedFlags)
        throw new StarError('ERR_ARGUMENT', `unknown flag --${name}: did you mean --${near}?`)
      }
      return [key, flagValue(key, text)]
    }),
  )
}

/** A copy of the file in which the dotted keys hold the values given for them. */
function withSet(json: Json, set: NonNullable<ReadOptions['set']>): Json {
  const changed = structuredClone(json)
  for (const [key, text] of set) {
    const path = key.split('.')
    const last = path.pop()!
    let at = changed
    for (const part of path) {
      if (!Object.hasOwn(at, part) || !isObject(at[part])) at[part] = {}
      at = at[part] as Json
    }
    at[last] = readings(text)[0]
  }
  return changed
}

function readOwn(json: Json, source: string, { kind, flags }: ReadOptions): ReadRun {
  const [flag] = flags?.keys() ?? []
  if (flag !== undefined)
    throw new StarError(
      'ERR_ARGUMENT',
      `--${flag} is for configurations of the reference implementation, and ${source} is none: use --set KEY=VALUE, such as --set optimizer.batchSize=8`,
    )
  const config = parseConfig(runSchema, json, source)
  if (kind && config.kind !== kind)
    throw new StarError(
      'ERR_CONFIG',
      `${source} describes the training of a ${config.kind}: run "star ${runSpecs[config.kind].command.name} ${source}"`,
    )
  return { config, notices: [], explained: explainOwn(json, config) }
}

/** The published file for the sampler head says so by nothing but its name, config_d30_samplev3_1024. */
const kindByName = (source: string): PublishedKind => (/sampl/i.test(basename(source)) ? 'sampler' : 'transformer')

const isPublishedKind = (kind: RunKind): kind is PublishedKind => kind === 'transformer' || kind === 'sampler'

/** @param options.set what is set of the translated run, which has keys that these files have no name for */
function readPublished(json: Json, source: string, { kind, flags = new Map(), set = [] }: ReadOptions): ReadRun {
  if (kind && !isPublishedKind(kind)) {
    const { title, command } = runSpecs[kind]
    throw new StarError(
      'ERR_CONFIG',
      `${source}: "kind" is missing: a ${title} is trained by a configuration of this program, such as ${command.example}`,
    )
  }
  const asked = kind ?? kindByName(source)
  const ofFlags = flagValues(flags)
  const raw = { ...json, ...ofFlags }
  const given = {
    keys: parseConfig(publishedSchema, raw, source),
    says: (key: PublishedKey) => key in raw,
    name: (key: PublishedKey) => (key in ofFlags ? `--${key}` : `"${key}"`),
    source,
  }
  const { run, notices } = translate(given, asked)
  if (kind === 'transformer' && kindByName(source) === 'sampler')
    notices.push(`${basename(source)} is, by its name, for "star train-sampler", but the whole transformer is trained`)
  const translated = withSet(run as Json, set)
  const config = parseConfig<z.ZodType<RunConfig>>(runSpecs[asked].schema, translated, `${source}, translated`)
  return { config, notices, explained: explainPublished(raw, ofFlags, given.keys, config) }
}

/**
 * The run that a configuration describes, with defaults.
 * @param source what errors call it
 * @throws ERR_CONFIG naming each wrong key, ERR_ARGUMENT naming a wrong flag
 */
export function resolveRunConfig(json: unknown, source: string, options: ReadOptions = {}): ReadRun {
  if (!isObject(json))
    throw new StarError('ERR_CONFIG', `${source} holds ${shown(json)}, expected a JSON object with a run configuration`)
  // Editors find the JSON Schema by this key.
  const { $schema: _, ...keys } = json
  const set = options.set ?? []
  const own = !isPublished(keys) || set.some(([key]) => key === 'kind')
  const ofFile = ([key]: readonly [string, string]): boolean =>
    own || Object.hasOwn(publishedSchema.shape, key.split('.')[0])
  const changed = withSet(keys, set.filter(ofFile))
  const rest = set.filter((pair) => !ofFile(pair))
  const from = set.length > 0 ? `${source} with ${set.map(([key, text]) => `${key}=${text}`).join(', ')}` : source
  return isPublished(changed)
    ? readPublished(changed, from, { ...options, set: rest })
    : readOwn(changed, from, options)
}

/**
 * Reads a run configuration from a file.
 * @throws ERR_FILE where it cannot be read, ERR_CONFIG and ERR_ARGUMENT as `resolveRunConfig`
 */
export function readRunConfig(file: string, options: ReadOptions = {}): ReadRun {
  return resolveRunConfig(readJson(file, { comments: true }), file, options)
}
