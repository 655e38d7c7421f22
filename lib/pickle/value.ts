/** What a pickle holds once it is read. */

/** A value that is no plain data: what a listed name stands for, or what calling it gave. */
export abstract class PickleObject {
  /** What it is, for error messages. */
  abstract readonly kind: string
}

export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

export type PickleKey = string | number | bigint | boolean | null
/** Integers beyond 2^53 are bigints, sets are lists; a value that occurs twice in the pickle is one object. */
export type PickleValue =
  | PickleKey
  | Uint8Array
  | PickleValue[]
  | PickleTuple
  | Map<PickleKey, PickleValue>
  | PickleObject

/** A name that a pickle may use. Without `call` it can be a value only. */
export class PickleGlobal extends PickleObject {
  constructor(
    /** `module name`, as old protocols spell it. */
    readonly kind: string,
    /** What calling it gives; undefined where the arguments do not fit. */
    readonly call?: (args: readonly PickleValue[]) => PickleValue | undefined,
  ) {
    super()
  }
}

export const isPickleKey = (value: PickleValue): value is PickleKey => value === null || typeof value !== 'object'

/** A list of globals by name. */
export function pickleGlobals(globals: readonly PickleGlobal[]): ReadonlyMap<string, PickleGlobal> {
  return new Map(globals.map((global) => [global.kind, global]))
}

const encodeLatin1 = (args: readonly PickleValue[]): PickleValue | undefined => {
  const [text, encoding] = args
  const fits = args.length === 2 && typeof text === 'string' && (encoding === 'latin1' || encoding === 'latin-1')
  return fits ? Uint8Array.from(Buffer.from(text, 'latin1')) : undefined
}
const emptyBytes = (args: readonly PickleValue[]): PickleValue | undefined =>
  args.length === 0 ? new Uint8Array(0) : undefined

const listOf = (args: readonly PickleValue[]): PickleValue | undefined =>
  args.length === 1 && Array.isArray(args[0]) ? args[0] : undefined

/** The function that protocols 0 to 3 spell sets with. */
export const setGlobals: readonly PickleGlobal[] = [
  new PickleGlobal('__builtin__ set', listOf),
  new PickleGlobal('builtins set', listOf),
]

/** The functions that protocols 0 to 2 spell bytes with. */
export const bytesGlobals: readonly PickleGlobal[] = [
  new PickleGlobal('_codecs encode', encodeLatin1),
  new PickleGlobal('__builtin__ bytes', emptyBytes),
  new PickleGlobal('builtins bytes', emptyBytes),
]
