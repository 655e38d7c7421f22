/** Comma-separated values as RFC 4180 describes them: fields may stand in double quotes, which are doubled inside. */
import { StarError } from '../native/error.js'

/**
 * Rows of a text, in the order of its lines; blank lines are passed over.
 * @throws ERR_FILE where a quoted field does not end
 */
export function* csvRows(text: string): Generator<string[]> {
  let row: string[] = []
  let at = 0
  while (at < text.length) {
    let field = ''
    if (text[at] === '"') {
      for (;;) {
        const end = text.indexOf('"', at + 1)
        if (end < 0) throw new StarError('ERR_FILE', 'a field in quotes does not end: close its quotes')
        field += text.slice(at + 1, end)
        at = end + 1
        if (text[at] !== '"') break
        field += '"'
      }
    }
    const end = at + text.slice(at).search(/[,\n]|\r\n|$/)
    row.push(field + text.slice(at, end))
    at = end
    if (text[at] === ',') {
      at++
      if (at < text.length) continue
      row.push('')
    }
    if (row.length > 1 || row[0] !== '') yield row
    row = []
    at += text[at] === '\r' ? 2 : 1
  }
}
