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

/** A text out of a file as a part of an error: one line, cut to a readable length, control characters as escapes. */
export function plain(text: string, most = 100): string {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text
  return JSON.stringify(cut)
    .slice(1, -1)
    .replaceAll(/\p{Cc}/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** `plain` in quotes. */
export const quoted = (text: string): string => `"${plain(text)}"`
