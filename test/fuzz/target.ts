/** What the fuzzer attacks: one reader of something that comes from outside. */
import { StarError } from '../../lib/native/error.js'
import type { Mutator } from './mutate.js'

export interface FuzzTarget {
  readonly name: string
  /** Sound inputs, small: what mutation begins with. */
  seeds(): Buffer[] | Promise<Buffer[]>
  /** Pieces that mean something to the reader. */
  readonly pieces?: readonly string[]
  /** Damage by somebody who knows the format, where a reader turns away nearly all other. Half of the inputs are made by it. */
  mutate?(bytes: Buffer, others: readonly Buffer[], mutator: Mutator): Buffer
  /** Compiled files (below dist) whose lines are counted as covered. */
  readonly sources: readonly string[]
  /** Prepares what all runs share; `scratch` is a folder of its own. */
  open(scratch: string): FuzzRun | Promise<FuzzRun>
}

export interface FuzzRun {
  /**
   * Reads the input and says in a word what came of it. Throws the reader's own errors; what may be thrown is judged by
   * `kindOf`.
   */
  run(input: Buffer): string | Promise<string>
  close?(): void | Promise<void>
}

/** Answers to what can be wrong with an input. Any other error is a fault of the reader. */
const allowed = new Set(['ERR_FILE', 'ERR_CONFIG', 'ERR_SHAPE', 'ERR_ARGUMENT', 'ERR_DTYPE', 'ERR_COMM'])

/**
 * What became of an input, without its names and numbers: inputs that give a new one are worth keeping.
 * @throws the error, where it is none that a reader may give
 */
export async function kindOf(run: FuzzRun, input: Buffer): Promise<string> {
  try {
    return await run.run(input)
  } catch (error) {
    if (!(error instanceof StarError) || !allowed.has(error.code) || /\p{Cc}/u.test(error.message)) throw error
    return `${error.code} ${error.message}`.replaceAll(/"(\\.|[^"\\])*"?|\(.*?\)|\/\S+|\d+/g, '').slice(0, 60)
  }
}
