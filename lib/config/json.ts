/** JSON files, before anything is known of what they should hold. */
import { readFileSync } from 'node:fs'
import stripJsonComments from 'strip-json-comments'
import { StarError } from '../native/error.js'
import { fileError } from '../native/files.js'

/**
 * Reads a JSON file.
 * @param options.comments whether it may hold comments (`//` and `/* … *\/`), as files that people write do
 * @throws ERR_FILE where it cannot be read, ERR_CONFIG where it is not JSON
 */
export function readJson(file: string, { comments = false }: { comments?: boolean } = {}): unknown {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw fileError('read', file, error)
  }
  // Comments become spaces, so that places in error messages stay true.
  return parseJson(comments ? stripJsonComments(text) : text, file)
}

/** JSON.parse whose error names the source and the place, as far as the engine tells it. @throws ERR_CONFIG */
export function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch (error) {
    const message = (error as Error).message.replaceAll(/\s+/g, ' ')
    const position = /position (\d+)/.exec(message)?.[1]
    const before = text.slice(0, Number(position ?? 0)).split('\n')
    const where = position ? ` at line ${before.length}, column ${before[before.length - 1].length + 1}` : ''
    throw new StarError(
      'ERR_CONFIG',
      `${source} is not valid JSON${where} (${message}): expected a JSON object. Correct this and run it again`,
      { cause: error },
    )
  }
}
