import t from 'tap'
import { StarError } from '../../../lib/native/error.js'

t.test('the message of an error is one line that does nothing to a terminal', async (t) => {
  const message = (text: string): string => new StarError('ERR_FILE', text).message
  t.equal(message('a path with é and 猫: "x"'), 'a path with é and 猫: "x"')
  t.equal(message('pngload: first\n  second\r\nthird\n'), 'pngload: first second third')
  t.equal(message('\u001b[31mred\u001b[0m\u0007 \u202egnp.exe'), '\\u001b[31mred\\u001b[0m\\u0007 \\u202egnp.exe')
})
