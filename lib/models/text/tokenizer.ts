/** Text to token ids: the interface encoders use, and BERT's uncased WordPiece tokenizer. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { StarError } from '../../native/index.js'

export interface TextTokenizer {
  /** Number of ids. */
  readonly size: number
  /** Id that fills short rows of a batch. */
  readonly padId: number
  /** Ids of one text with the special tokens around it, at most `maxLength` of them: what does not fit is cut at the end. */
  encode(text: string, maxLength: number): number[]
  /** A hash of all that decides the ids. */
  fingerprint(): string
}

export interface TokenBatch {
  /** (count, length), short rows filled with the pad id. */
  ids: Int32Array
  /** (count, length): 1 for a token, 0 for padding. */
  mask: Uint8Array
  /** Tokens of each text, special ones included. */
  lengths: number[]
  length: number
}

/** Encodes texts to rows of one length: `maxLength`, or that of the longest when `trim` is set. */
export function encodeBatch(
  tokenizer: TextTokenizer,
  texts: readonly string[],
  maxLength: number,
  trim = false,
): TokenBatch {
  const rows = texts.map((text) => tokenizer.encode(text, maxLength))
  const lengths = rows.map((row) => row.length)
  const length = trim ? Math.max(1, ...lengths) : maxLength
  const ids = new Int32Array(texts.length * length).fill(tokenizer.padId)
  const mask = new Uint8Array(texts.length * length)
  rows.forEach((row, i) => {
    ids.set(row, i * length)
    mask.fill(1, i * length, i * length + row.length)
  })
  return { ids, mask, lengths, length }
}

const isChinese = (c: number): boolean =>
  (c >= 0x4e00 && c <= 0x9fff) ||
  (c >= 0x3400 && c <= 0x4dbf) ||
  (c >= 0x20000 && c <= 0x2a6df) ||
  (c >= 0x2a700 && c <= 0x2b81f) ||
  (c >= 0x2b920 && c <= 0x2ceaf) ||
  (c >= 0xf900 && c <= 0xfaff) ||
  (c >= 0x2f800 && c <= 0x2fa1f)

const dropped = /^(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\ufffd]$/u
const space = /^\p{White_Space}$/u
const mark = /\p{Mn}/gu
const punctuation = /([\p{P}$+<=>^`|~])/u
const longestWord = 100

/**
 * BERT's uncased tokenizer (Devlin et al. 2018): control characters dropped, ideographs set apart, accents stripped, lower
 * case, split at white space and punctuation, then each word cut greedily into the longest pieces of the vocabulary
 * (pieces inside a word start with ##). A word of more than 100 characters, or with a part that no piece covers, is [UNK].
 * Special tokens written out in a text ("[MASK]") count as such, as they do in the reference tokenizer.
 */
export class WordPieceTokenizer implements TextTokenizer {
  readonly padId: number
  readonly #vocabulary: ReadonlyMap<string, number>
  readonly #special: RegExp
  readonly #unknown: number
  readonly #start: number
  readonly #end: number

  /** @param pieces the vocabulary in the order of the ids @throws ERR_FILE when a special token is missing */
  constructor(pieces: readonly string[]) {
    this.#vocabulary = new Map(pieces.map((piece, id) => [piece, id]))
    const special = (name: string): number => {
      const id = this.#vocabulary.get(name)
      if (id === undefined)
        throw new StarError(
          'ERR_FILE',
          `the vocabulary of ${pieces.length} pieces has no ${name}, expected a BERT vocabulary (vocab.txt)`,
        )
      return id
    }
    this.padId = special('[PAD]')
    this.#unknown = special('[UNK]')
    this.#start = special('[CLS]')
    this.#end = special('[SEP]')
    this.#special = /(\[(?:PAD|UNK|CLS|SEP|MASK)\])/
  }

  /** Reads a vocab.txt: one piece a line. @throws ERR_FILE when it cannot be read or is no BERT vocabulary */
  static fromFile(path: string): WordPieceTokenizer {
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (cause) {
      throw new StarError(
        'ERR_FILE',
        `cannot read the vocabulary ${path}; give the folder of a text encoder with its vocab.txt`,
        { cause },
      )
    }
    return new WordPieceTokenizer(text.replace(/\r?\n$/, '').split(/\r?\n/))
  }

  get size(): number {
    return this.#vocabulary.size
  }

  encode(text: string, maxLength: number): number[] {
    if (maxLength < 2)
      throw new StarError(
        'ERR_ARGUMENT',
        `encode: the longest length is ${maxLength}, expected at least 2: [CLS] and [SEP]`,
      )
    const ids = [this.#start]
    const capacity = maxLength - 1
    for (const part of text.split(this.#special)) {
      if (ids.length >= capacity) break
      if (this.#special.test(part)) ids.push(this.#vocabulary.get(part) ?? this.#unknown)
      else this.#pushWords(part, ids, capacity)
    }
    if (ids.length > capacity) ids.length = capacity
    ids.push(this.#end)
    return ids
  }

  fingerprint(): string {
    return createHash('sha256')
      .update(JSON.stringify([...this.#vocabulary]))
      .digest('hex')
  }

  #pushWords(text: string, ids: number[], capacity: number): void {
    for (const chunk of normalize(text).split(' ')) {
      for (const word of chunk.split(punctuation)) {
        if (word) this.#pushPieces(word, ids)
        if (ids.length >= capacity) return
      }
    }
  }

  #pushPieces(word: string, ids: number[]): void {
    const letters = [...word]
    if (letters.length > longestWord) {
      ids.push(this.#unknown)
      return
    }
    const first = ids.length
    for (let begin = 0; begin < letters.length; ) {
      let end = letters.length
      let id: number | undefined
      for (; end > begin; end--) {
        const piece = letters.slice(begin, end).join('')
        id = this.#vocabulary.get(begin > 0 ? `##${piece}` : piece)
        if (id !== undefined) break
      }
      if (id === undefined) {
        ids.length = first
        ids.push(this.#unknown)
        return
      }
      ids.push(id)
      begin = end
    }
  }
}

function normalize(text: string): string {
  let clean = ''
  for (const letter of text) {
    const code = letter.codePointAt(0)!
    if (code < 0x80 && code >= 0x20 && code !== 0x7f) clean += letter
    else if (dropped.test(letter)) continue
    else if (space.test(letter)) clean += ' '
    else clean += isChinese(code) ? ` ${letter} ` : letter
  }
  // Letter by letter: the lower case of a capital sigma must not depend on its place in the word.
  let lower = ''
  for (const letter of clean.normalize('NFD').replace(mark, '')) lower += letter.toLowerCase()
  return lower
}
