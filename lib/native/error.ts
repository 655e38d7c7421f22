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
  | 'ERR_BUSY'
  | 'ERR_NATIVE'
  | 'ERR_INTERNAL'

/**
 * Messages quote texts of files, paths and libraries, which may hold anything: an end of line becomes a space, what would act on a
 * terminal (control characters, changes of writing direction) an escape.
 */
export function oneLine(message: string): string {
  return message
    .trim()
    .replaceAll(/\s*[\r\n\u2028\u2029]+\s*/g, ' ')
    .replaceAll(unprintable, escaped)
}

const unprintable = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu
const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`

/**
 * Every error this package throws on purpose: one line that says what was given, what was expected and what to do,
 * and a `code` to branch on. What an AbortSignal ended has the name `AbortError`, as elsewhere.
 */
export class StarError extends Error {
  /** `AbortError` where a signal ended the work. */
  override readonly name: 'StarError' | 'AbortError'
  /**
   * An error with a code.
   * @param message becomes one line; what would act on a terminal is escaped
   * @param options.cause what it came from
   */
  constructor(
    /** What kind of thing went wrong. */
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(oneLine(message), options)
    this.name = code === 'ERR_ABORTED' ? 'AbortError' : 'StarError'
  }
}

/** A text out of a file as a part of an error: one line, cut to a readable length, control characters as escapes. */
export function plain(text: string, most = 100): string {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text
  return JSON.stringify(cut).slice(1, -1).replaceAll(unprintable, escaped)
}

/** `plain` in quotes. */
export const quoted = (text: string): string => `"${plain(text)}"`
