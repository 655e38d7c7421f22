/** Codes of `StarError`: what kind of thing went wrong. */
export type ErrorCode =
  | 'ERR_SHAPE'
  | 'ERR_DTYPE'
  | 'ERR_DEVICE'
  | 'ERR_MEMORY'
  | 'ERR_FILE'
  | 'ERR_CONFIG'
  | 'ERR_COMM'
  | 'ERR_ARGUMENT'
  | 'ERR_ABORTED'
  | 'ERR_NATIVE'
  | 'ERR_INTERNAL'

/**
 * Every error this package throws on purpose: one line that says what was given, what was expected and what to do,
 * and a `code` to branch on.
 */
export class StarError extends Error {
  override readonly name = 'StarError'
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}
