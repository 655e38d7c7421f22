/** Files of text tokenizers, and prompts. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSentencePiece } from '../../../lib/models/text/sentencepiece.js'
import { WordPieceTokenizer } from '../../../lib/models/text/tokenizer.js'
import { loadTokenizer, type TokenizerKind } from '../../../lib/models/text/tokenizer-files.js'
import { packageRoot } from '../../../lib/native/index.js'
import type { FuzzTarget } from '../target.js'

const data = join(packageRoot, 'test', 'data')
const prompts = ['a red apple', 'Ünïcode 猫 😀\u200d🔥 <pad> </s>', "it's 123", '']
const parts = ['lib/models/text/tokenizer-files.js', 'lib/models/text/hugging-face.js', 'lib/models/text/pipeline.js']

/** A target that damages one file of a tokenizer's folder. */
const fileTarget = (
  name: string,
  kind: TokenizerKind,
  folder: string,
  file: string,
  sources: readonly string[],
  prepare = (bytes: Buffer): Buffer => bytes,
): FuzzTarget => ({
  name,
  sources,
  pieces: [
    '"vocab"',
    '"merges"',
    '"Unigram"',
    '"BPE"',
    '"Sequence"',
    '"Replace"',
    '"Regex"',
    '"ids"',
    '"added_tokens"',
    'Ġ',
    '</w>',
  ],
  seeds: () => [prepare(readFileSync(join(data, folder, file)))],
  open: (scratch) => {
    cpSync(join(data, folder), scratch, { recursive: true })
    return {
      run: (input) => {
        writeFileSync(join(scratch, file), input)
        const tokenizer = loadTokenizer(scratch, kind)
        return `read ${prompts.map((prompt) => tokenizer.encode(prompt, 32).length).join()}`
      },
    }
  },
})

export const clipMerges = fileTarget('clip-merges', 'clip', 'clip/tokenizer', 'merges.txt', [
  ...parts,
  'lib/models/text/subwords.js',
])
export const clipTokens = fileTarget('clip-tokens', 'clip', 'clip/tokenizer', 'special_tokens_map.json', parts)
export const clipConfig = fileTarget('clip-config', 'clip', 'clip/tokenizer', 'tokenizer_config.json', parts)
export const clipJson = fileTarget('clip-json', 'clip', 'clip/one-file', 'tokenizer.json', parts)
/** Without character rules, which the file in test/data leaves out too. */
const withoutRules = (bytes: Buffer): Buffer =>
  Buffer.from(JSON.stringify({ ...JSON.parse(bytes.toString('utf8')), normalizer: null }))
export const t5Json = fileTarget('t5-json', 't5', 't5/one-file', 'tokenizer.json', parts, withoutRules)
export const t5Pieces = fileTarget('t5-pieces', 't5', 't5', 'spiece.model', [
  'lib/models/text/sentencepiece.js',
  ...parts,
])

export const sentencePiece: FuzzTarget = {
  name: 'sentencepiece',
  sources: ['lib/models/text/sentencepiece.js'],
  pieces: ['\x0a', '\x12', '\x1a', '\x18\x02', '\xff\xff\xff\xff\xff\xff\xff\xff\x7f'],
  // Pieces `<unk>` (of the type for what is unknown) and `▁a`, and a trainer_spec that says unigram.
  seeds: () => [
    Buffer.from(
      '\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02\x0a\x0b\x0a\x04\xe2\x96\x81a\x15\0\0\x80\xbf\x12\x02\x18\x01',
      'latin1',
    ),
  ],
  open: () => ({ run: (input) => `pieces ${parseSentencePiece(input, 'x').pieces.length > 10}` }),
}

export const prompt: FuzzTarget = {
  name: 'prompt',
  sources: [...parts, 'lib/models/text/charsmap.js', 'lib/models/text/subwords.js', 'lib/models/text/tokenizer.js'],
  pieces: [
    '<pad>',
    '</s>',
    '<|endoftext|>',
    '[CLS]',
    '\u00e9',
    '\xe7\x8c\xab',
    '\xf0\x9f\x98\x80',
    '\xe2\x80\x8d',
    '\xcc\x81',
    '##',
  ],
  seeds: () => prompts.map((text) => Buffer.from(text)),
  open: () => {
    const vocabulary = readFileSync(join(packageRoot, 'models', 'minilm-l6', 'vocab.txt'), 'utf8')
    const tokenizers = [
      new WordPieceTokenizer(vocabulary.trimEnd().split('\n')),
      loadTokenizer(join(data, 'clip', 'tokenizer'), 'clip'),
      loadTokenizer(join(data, 't5'), 't5'),
    ]
    return {
      run: (input) => {
        const text = input.toString(input.length % 2 === 0 ? 'utf8' : 'utf16le')
        for (const tokenizer of tokenizers) {
          const ids = tokenizer.encode(text, 77)
          if (ids.length > 77 || !ids.every((id) => id >= 0)) throw new Error(`ids ${ids.join()}`)
        }
        return 'encoded'
      },
    }
  },
}
