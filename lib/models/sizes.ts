/** Sizes that a configuration names, against those of the weights it belongs to: before a module takes memory for them. */
import { StarError } from '../native/error.js'

/**
 * @param source file of the configuration and the place in it, for the error
 * @param weights file of the weights
 * @throws ERR_SHAPE naming each size that differs
 */
export function expectSizes<C extends object>(
  { source, weights }: { source: string; weights: string },
  config: C,
  stored: Partial<C>,
): void {
  const differing = (Object.keys(stored) as (keyof C & string)[]).filter(
    (key) => JSON.stringify(config[key]) !== JSON.stringify(stored[key]),
  )
  if (differing.length === 0) return
  const list = differing.map((key) => `"${key}" is ${text(config[key])}, of the weights ${text(stored[key])}`)
  throw new StarError(
    'ERR_SHAPE',
    `${source} does not fit ${weights}: ${list.join('; ')}. Take both from the same model`,
  )
}

const text = (value: unknown): string => {
  const json = JSON.stringify(value) ?? 'not given'
  return json.length > 60 ? `${json.slice(0, 57)}…` : json
}
