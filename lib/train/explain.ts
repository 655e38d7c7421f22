/** How each key of a configuration was understood, for `star config --explain`. */
import { shown } from '../config/parse-config.js'
import { counterparts } from './published/counterparts.js'
import type { PublishedKey } from './published/keys.js'

export interface ExplainedKey {
  key: string
  /** Where the value comes from. */
  origin: 'file' | 'flag' | 'default'
  /** As JSON. */
  value: string
  /** The keys of the resolved configuration that hold it, or why there are none. */
  meaning: string
}

type Json = Record<string, unknown>

const valueAt = (config: unknown, key: string): unknown =>
  key.split('.').reduce<unknown>((at, part) => (at as Json | undefined)?.[part], config)

/** A text of `counterparts` with the values that the resolved configuration has for the keys it names. */
const withValues = (text: string, config: unknown): string =>
  text.replace(/`([^`]+)`/g, (_, key: string) => {
    const value = valueAt(config, key)
    return value === undefined ? key : `${key} = ${shown(value)}`
  })

/**
 * Keys of the reference implementation.
 * @param raw file and flags together
 * @param keys the same with defaults
 */
export function explainPublished(raw: Json, flags: Json, keys: Json, config: unknown): ExplainedKey[] {
  const rows = (Object.keys(counterparts) as PublishedKey[]).map((key): ExplainedKey => {
    const origin = key in flags ? 'flag' : key in raw ? 'file' : 'default'
    const value = shown(raw[key] ?? keys[key] ?? null)
    return { key, origin, value, meaning: withValues(counterparts[key], config) }
  })
  return [...rows.filter(({ origin }) => origin !== 'default'), ...rows.filter(({ origin }) => origin === 'default')]
}

/** Keys of this program: what the file says, and the defaults it leaves. */
export function explainOwn(given: Json, config: Json, path = ''): ExplainedKey[] {
  return Object.entries(config).flatMap(([name, value]): ExplainedKey[] => {
    const key = path + name
    const inside = (given as Json | undefined)?.[name]
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return explainOwn((inside ?? {}) as Json, value as Json, `${key}.`)
    return [{ key, origin: inside === undefined ? 'default' : 'file', value: shown(value), meaning: '' }]
  })
}
