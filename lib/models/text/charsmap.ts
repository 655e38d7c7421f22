/** The character rules of a SentencePiece model: which sequences of characters are replaced before a text is cut. */
import { StarError } from '../../native/index.js'

const utf8 = new TextEncoder()
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })

/** Characters that no mark can follow are clusters of their own: a run of visible ASCII up to the last but one. */
const asciiRun = /[\x20-\x7e]+(?=[\x20-\x7e]|$)/y

/**
 * The grapheme clusters of a text. Intl.Segmenter takes time that grows with the square of the length, so it is given a
 * window at a time; the last cluster in a window may continue behind it and begins the next one.
 */
function* clusters(text: string): Generator<string> {
  let size = 64
  for (let begin = 0; begin < text.length; ) {
    asciiRun.lastIndex = begin
    const run = asciiRun.exec(text)?.[0] ?? ''
    yield* run
    begin += run.length
    const segments = Array.from(graphemes.segment(text.slice(begin, begin + size)), ({ segment }) => segment)
    if (begin + size < text.length) segments.pop()
    size = segments.length > 0 ? 64 : size * 2
    for (const segment of segments) {
      yield segment
      begin += segment.length
    }
  }
}

/** Clusters of more bytes are looked at character by character only. */
const longestCluster = 5

/**
 * SentencePiece keeps its rules as a double-array trie over UTF-8 bytes (Aoe, "An efficient digital search algorithm by using
 * a double-array structure", 1989) whose values are places in a list of replacements that end with a zero byte:
 * 4 bytes little-endian size of the trie, the trie (32 bits a unit), the replacements.
 *
 * A unit holds the label of the edge that leads to it (bits 0–7), whether it has a value (bit 8), and the offset to its
 * children (bits 10–30, times 256 where bit 9 is set); a unit with bit 31 set is a value.
 *
 * Rules are applied as the reference tokenizers of T5 do it: to each grapheme cluster of up to five bytes as a whole, which
 * is replaced even if only its first characters have a rule, and to the characters of the others.
 */
export class Charsmap {
  readonly #units: Uint32Array
  readonly #replacements: Uint8Array
  readonly #known = new Map<string, string | null>()

  /** @throws ERR_FILE when the sizes do not fit */
  constructor(bytes: Uint8Array, source: string) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const size = bytes.length >= 4 ? view.getUint32(0, true) : 0
    if (size === 0 || size % 4 !== 0 || 4 + size > bytes.length)
      throw new StarError(
        'ERR_FILE',
        `${source}: its character rules are damaged (${bytes.length} bytes with a trie of ${size}); download the file again`,
      )
    this.#units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
    this.#replacements = bytes.subarray(4 + size)
  }

  apply(text: string): string {
    let out = ''
    for (const segment of clusters(text)) {
      const whole = utf8.encode(segment).length <= longestCluster ? this.#replacement(segment) : null
      if (whole !== null) out += whole
      else for (const letter of segment) out += this.#replacement(letter) ?? letter
    }
    return out
  }

  /** What the shortest start of `text` that has a rule is replaced with; null where none has. */
  #replacement(text: string): string | null {
    let found = this.#known.get(text)
    if (found === undefined) {
      found = this.#search(utf8.encode(text))
      if (this.#known.size < 65536) this.#known.set(text, found)
    }
    return found
  }

  #search(key: Uint8Array): string | null {
    const units = this.#units
    const offset = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)
    let at = offset(units[0])
    for (const byte of key) {
      at ^= byte
      // Beyond the end of a damaged trie the unit is undefined, and its label 0.
      const unit = units[at]
      if (byte === 0 || (unit & 0x800000ff) !== byte) return null
      at ^= offset(unit)
      if (unit & 0x100) return this.#text(units[at] & 0x7fffffff)
    }
    return null
  }

  #text(begin: number): string {
    const end = this.#replacements.indexOf(0, begin)
    return new TextDecoder().decode(this.#replacements.subarray(begin, end < 0 ? undefined : end))
  }
}
