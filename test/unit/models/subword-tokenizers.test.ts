import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseSentencePiece } from '../../../lib/models/text/sentencepiece.js'
import { BytePairModel, UnigramModel } from '../../../lib/models/text/subwords.js'
import { loadTokenizer } from '../../../lib/models/text/tokenizer-files.js'
import { packageRoot } from '../../../lib/native/index.js'

const data = join(packageRoot, 'test/data')
const rows = JSON.parse(readFileSync(join(data, 'text-tokenizers.json'), 'utf8')) as [string, number[], number[]][]
const clip = loadTokenizer(join(data, 'clip/tokenizer'), 'clip')
const t5 = loadTokenizer(join(data, 't5'), 't5')
const spiece = readFileSync(join(data, 't5/spiece.model'))

/** t5/one-file/tokenizer.json with the character rules that were left out of it. */
function t5Json(): Record<string, unknown> {
  const json = JSON.parse(readFileSync(join(data, 't5/one-file/tokenizer.json'), 'utf8'))
  json.normalizer.precompiled_charsmap = Buffer.from(parseSentencePiece(spiece, 'spiece.model').charsmap).toString(
    'base64',
  )
  return json
}

t.test('strange texts have the ids of the reference tokenizers', async (t) => {
  t.ok(rows.length > 700)
  const folder = t.testdir({ 'tokenizer.json': JSON.stringify(t5Json()) })
  const tokenizers = [
    { name: 'CLIP of vocab.json and merges.txt', tokenizer: clip, column: 1 as const },
    {
      name: 'CLIP of tokenizer.json',
      tokenizer: loadTokenizer(join(data, 'clip/one-file'), 'clip'),
      column: 1 as const,
    },
    { name: 'T5 of spiece.model', tokenizer: t5, column: 2 as const },
    { name: 'T5 of tokenizer.json', tokenizer: loadTokenizer(folder, 't5'), column: 2 as const },
  ]
  for (const { name, tokenizer, column } of tokenizers) {
    const wrong = rows.filter((row) => tokenizer.encode(row[0], Infinity).join() !== row[column].join())
    t.strictSame(wrong, [], name)
  }
})

t.test('long texts are cut, and keep their end token', async (t) => {
  for (const [text, clipIds, t5Ids] of rows.filter((row) => row[1].length > 77)) {
    t.strictSame(clip.encode(text, 77), [...clipIds.slice(0, 76), clip.endId])
    if (t5Ids.length > 120) t.strictSame(t5.encode(text, 120), [...t5Ids.slice(0, 119), t5.endId])
  }
  t.strictSame(clip.encode('a red apple', 2), [1012, 1013])
  t.strictSame(t5.encode('a red apple', 1), [1])
  t.equal(clip.encode('a red apple '.repeat(9_000), 77).length, 77)
  t.equal(clip.encode('x'.repeat(100_000), 77).length, 77)
  t.equal(t5.encode('é'.repeat(100_000), 120).length, 120)
  t.throws(() => clip.encode('a', 1), { code: 'ERR_ARGUMENT', message: /at least 2/ })
})

t.test('pairs are merged in the order of training', async (t) => {
  const entries = ['a', 'b', 'c', 'c#', 'ab', 'bc', 'bc#', 'abc#', '?']
  const vocabulary = Object.fromEntries(entries.map((entry, id) => [entry, id]))
  const merges = ['b c#', 'a b', 'a bc#', 'b c']
  const model = new BytePairModel(vocabulary, merges, '#', '?', 'test')
  const cut = (text: string): string =>
    model
      .ids(text)
      .map((id) => entries[id])
      .join(' ')
  t.equal(cut('abc'), 'abc#')
  t.equal(cut('abcc'), 'ab c c#')
  t.equal(cut('ababc'), 'ab abc#')
  t.equal(cut('xbc'), '? bc#')
  t.equal(cut(''), '')
  t.strictSame(new BytePairModel(vocabulary, merges, '#', null, 'test').ids('xbc'), [6])
})

t.test('the most probable sequence is found, and unknown characters are dear', async (t) => {
  const vocabulary: [string, number][] = [
    ['<unk>', 0],
    ['a', -3],
    ['y', -5],
    ['ay', -1],
    ['xa', -12],
    ['aa', -6],
  ]
  const model = new UnigramModel(vocabulary, 0, 'test')
  const cut = (text: string): string =>
    model
      .ids(text)
      .map((id) => vocabulary[id][0])
      .join(' ')
  t.equal(cut('ay'), 'ay')
  // −12 − 5 against −12 − 10 − 1.
  t.equal(cut('xay'), 'xa y')
  // Two a cost what aa costs: the longer one is taken.
  t.equal(cut('aa'), 'aa')
  t.equal(cut('zzay😺😺'), '<unk> ay <unk>')
  t.equal(cut(''), '')
})

t.test('rules see clusters as wholes however long the text is', async (t) => {
  // Marks are composed with their letter, wherever a window of the search for clusters ends.
  for (const length of [60, 61, 62, 63, 64, 65, 127, 128, 200]) {
    const text = `${'日'.repeat(length)}e\u0301${'語'.repeat(70)}`
    t.strictSame(t5.encode(text, 999), t5.encode(text.normalize('NFC'), 999), String(length))
  }
  t.equal(t5.encode(`e${'\u0301'.repeat(500)}`, 999).at(-1), t5.endId)
})

t.test('the steps that other versions of tokenizer.json have give what the reference gives', async (t) => {
  const json = t5Json()
  const replace = { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' }
  const trim = { type: 'Strip', strip_left: false, strip_right: true }
  const folder = t.testdir({
    'tokenizer.json': JSON.stringify({
      ...json,
      normalizer: { type: 'Sequence', normalizers: [json.normalizer, trim, replace] },
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', add_prefix_space: true },
    }),
  })
  const other = loadTokenizer(folder, 't5')
  // Nothing is left of these, not even the mark of a word's beginning.
  for (const text of ['', ' ', '\t', '\u0007', '\ufffd', '▁'])
    t.strictSame(other.encode(text, 9), [1], JSON.stringify(text))
  t.strictSame(other.encode('a  red   cat ', 99), t5.encode('a red cat', 99))
  t.strictSame(other.encode('cat</s>cat', 99), t5.encode('cat</s>cat', 99))
})

t.test('half a surrogate pair is read as a character that is none', async (t) => {
  for (const tokenizer of [clip, t5])
    t.strictSame(tokenizer.encode('a\ud83d b\udc00', 99), tokenizer.encode('a\ufffd b\ufffd', 99))
})

t.test('without its configuration CLIP has the two special tokens only', async (t) => {
  const folder = t.testdir()
  for (const name of ['vocab.json', 'merges.txt']) cpSync(join(data, 'clip/tokenizer', name), join(folder, name))
  const bare = loadTokenizer(folder, 'clip')
  // "!" at a word's end, where the released configuration makes it the padding token; and no token in other case.
  t.strictSame(bare.encode('!', 9), [1012, 256, 1013])
  t.strictSame(clip.encode('!', 9), [1012, 0, 1013])
  t.strictSame(bare.encode('<|endoftext|>', 9), [1012, 1013, 1013])
  t.strictSame(bare.encode('<|EndOfText|>', 99), [1012, 27, 347, 554, 67, 78, 69, 638, 87, 339, 91, 285, 1013])
  t.strictSame(clip.encode('<|EndOfText|>', 99), [1012, 1013, 1013])
  t.not(bare.fingerprint(), clip.fingerprint())
})

t.test('tokens of tokenizer_config.json count as special ones', async (t) => {
  const folder = t.testdir()
  for (const name of ['vocab.json', 'merges.txt']) cpSync(join(data, 'clip/tokenizer', name), join(folder, name))
  const token = { content: 'cat</w>', lstrip: true, rstrip: true, normalized: false, special: true }
  const id = JSON.parse(readFileSync(join(folder, 'vocab.json'), 'utf8'))['a</w>']
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ added_tokens_decoder: { [id]: { ...token, content: 'a</w>' } } }),
  )
  t.strictSame(loadTokenizer(folder, 'clip').encode(' a</w> ', 9), [1012, id, 1013])
})

t.test('the number of sentinels is that of the configuration', async (t) => {
  const folder = t.testdir({ 'tokenizer_config.json': '{"extra_ids": 2}', 'spiece.model': spiece })
  const few = loadTokenizer(folder, 't5')
  t.equal(few.size, 902)
  t.equal(t5.size, 1000)
  t.strictSame(few.encode('<extra_id_0>', 9), [901, 1])
  t.strictSame(t5.encode('<extra_id_0>', 9), [999, 1])
})

t.test('files that are missing or damaged are refused', async (t) => {
  const folder = t.testdir()
  t.throws(() => loadTokenizer(folder, 'clip'), { code: 'ERR_FILE', message: /vocab\.json with merges\.txt/ })
  t.throws(() => loadTokenizer(folder, 't5'), { code: 'ERR_FILE', message: /spiece\.model/ })
  cpSync(join(data, 'clip/tokenizer/vocab.json'), join(folder, 'vocab.json'))
  t.throws(() => loadTokenizer(folder, 'clip'), { code: 'ERR_FILE', message: /merges\.txt/ })
  writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\nno such\n')
  t.throws(() => loadTokenizer(folder, 'clip'), { code: 'ERR_FILE', message: /"such"/ })
  writeFileSync(join(folder, 'vocab.json'), '{"a": 0}')
  t.throws(() => loadTokenizer(folder, 'clip'), { code: 'ERR_FILE', message: /<\|startoftext\|>/ })

  const json = t5Json()
  const refuses = (change: object, code: string, message: RegExp): void => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder)
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...json, ...change }))
    t.throws(() => loadTokenizer(folder, 't5'), { code, message })
  }
  refuses({ normalizer: { type: 'Nmt' } }, 'ERR_CONFIG', /normalizer "Nmt" is unknown.*Precompiled/)
  refuses({ pre_tokenizer: { type: 'Digits' } }, 'ERR_CONFIG', /pre_tokenizer "Digits" is unknown/)
  refuses({ post_processor: { type: 'ByteLevel' } }, 'ERR_CONFIG', /post_processor "ByteLevel" is unknown/)
  refuses({ post_processor: null }, 'ERR_CONFIG', /post_processor/)
  refuses({ model: { type: 'WordPiece', vocab: {} } }, 'ERR_CONFIG', /model/)
  refuses({ model: { ...(json.model as object), unk_id: 5000 } }, 'ERR_FILE', /number 5000 of 1000/)
  refuses(
    { normalizer: { type: 'Replace', pattern: { Regex: '(' }, content: '' } },
    'ERR_CONFIG',
    /pattern "\(" cannot be read/,
  )
  refuses(
    { normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAA' } },
    'ERR_FILE',
    /character rules are damaged/,
  )
})

t.test('a SentencePiece model that is cut or changed anywhere ends in an error or a tokenizer', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'spiece.model')
  let refused = 0
  const tries = [...Array(40).keys()].flatMap((i) => {
    const cut = spiece.subarray(0, Math.floor((i * spiece.length) / 40))
    const changed = Buffer.from(spiece)
    for (let j = 0; j < 20; j++) changed[(i * 7919 + j * j * 104729) % changed.length] ^= 1 + ((i * 31 + j) % 255)
    return [cut, changed]
  })
  for (const bytes of tries) {
    writeFileSync(file, bytes)
    try {
      const tokenizer = loadTokenizer(folder, 't5')
      t.equal(tokenizer.encode('a cat 😺 ﬁ ½ é', 99).at(-1), tokenizer.endId)
    } catch (error) {
      t.match(error, { name: 'StarError' })
      refused++
    }
  }
  t.ok(refused >= 40, `${refused} refused`)
})
