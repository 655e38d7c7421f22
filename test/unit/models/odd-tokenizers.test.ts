/** Tokenizer files that are sound but odd, and what fuzzing found in damaged ones. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadTokenizer } from '../../../lib/models/text/tokenizer-files.js'
import { packageRoot } from '../../../lib/native/index.js'

const data = join(packageRoot, 'test', 'data', 't5')

t.test('added tokens of characters that mean something in a pattern', async (t) => {
  const folder = t.testdir()
  const json = JSON.parse(readFileSync(join(data, 'one-file', 'tokenizer.json'), 'utf8'))
  const contents = ['<a-b>', 'c.d', '(e|f)', '[g]', 'h\\', 'i*+?', '^j$', '{k}', 'l/m']
  const first = 5000
  const tokens = contents.map((content, i) => ({ id: first + i, content, normalized: false }))
  const definition = { ...json, normalizer: null, added_tokens: [...json.added_tokens, ...tokens] }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(definition))
  const tokenizer = loadTokenizer(folder, 't5')
  for (const [i, content] of contents.entries())
    t.ok(tokenizer.encode(`apple ${content} apple`, 32).includes(first + i), content)
  t.notOk(tokenizer.encode('cxd', 32).includes(first + 1), 'a dot is a dot')
})

t.test('a score that is no number is refused by name', async (t) => {
  const folder = t.testdir()
  cpSync(join(data, 'spiece.model'), join(folder, 'spiece.model'))
  const bytes = readFileSync(join(folder, 'spiece.model'))
  // The score of the first piece: field 2 of its message, four bytes.
  const at = bytes.indexOf(0x15) + 1
  bytes.writeFloatLE(Number.NaN, at)
  writeFileSync(join(folder, 'spiece.model'), bytes)
  t.throws(() => loadTokenizer(folder, 't5'), {
    name: 'StarError',
    code: 'ERR_CONFIG',
    message: /spiece\.model: "model/,
  })
})
