import { join } from 'node:path'
import t from 'tap'
import { encodeBatch, WordPieceTokenizer } from '../../../lib/models/text/tokenizer.js'
import { packageRoot } from '../../../lib/native/index.js'
import { readSafetensorsHeader } from '../../../lib/weights/index.js'

const tokenizer = WordPieceTokenizer.fromFile(join(packageRoot, 'models/minilm-l6/vocab.txt'))
const { metadata } = readSafetensorsHeader(join(packageRoot, 'test/data/minilm.safetensors'))
const texts = JSON.parse(metadata.texts) as [text: string, ids: number[]][]
const small = new WordPieceTokenizer(['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'red', 'apple', '##s', ','])

t.test('strange texts have the ids of the reference tokenizer', async (t) => {
  t.ok(texts.length > 400)
  const cut = (ids: number[]): number[] => (ids.length > 64 ? [...ids.slice(0, 63), 102] : ids)
  const wrong = texts.filter(([text, ids]) => tokenizer.encode(text, 64).join() !== cut(ids).join())
  t.strictSame(wrong, [])
})

t.test('words are cut into the longest pieces, and cut off at the longest length', async (t) => {
  t.strictSame(small.encode('Red apples, pears', 64), [2, 4, 5, 6, 7, 1, 3])
  t.strictSame(small.encode('Red apples, pears', 5), [2, 4, 5, 6, 3])
  t.strictSame(small.encode('Red apples, pears', 2), [2, 3])
  t.equal(small.size, 8)
})

t.test('a text of a million characters is cut soon', async (t) => {
  t.equal(tokenizer.encode('a red apple '.repeat(90_000), 64).length, 64)
  t.equal(tokenizer.encode('x'.repeat(1_000_000), 64).length, 3)
})

t.test('batches are padded to the longest length or to their longest text', async (t) => {
  const texts = ['red', '', 'red apple']
  t.strictSame(encodeBatch(small, texts, 5), {
    ids: Int32Array.from([2, 4, 3, 0, 0, 2, 3, 0, 0, 0, 2, 4, 5, 3, 0]),
    mask: Uint8Array.from([1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0]),
    lengths: [3, 2, 4],
    length: 5,
  })
  t.equal(encodeBatch(small, texts, 5, true).length, 4)
})

t.test('what is no vocabulary is refused', async (t) => {
  t.throws(() => new WordPieceTokenizer(['[PAD]', 'a']), { code: 'ERR_FILE', message: /2 pieces has no \[UNK\]/ })
  t.throws(() => WordPieceTokenizer.fromFile('/nowhere/vocab.txt'), { code: 'ERR_FILE', message: /nowhere/ })
  t.throws(() => small.encode('red', 1), { code: 'ERR_ARGUMENT' })
})
