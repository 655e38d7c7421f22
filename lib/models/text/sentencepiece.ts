/** Reads a SentencePiece model (spiece.model): a protocol buffer with pieces, their scores and character rules. */
import { StarError } from '../../native/index.js'

export interface SentencePieceModel {
  /** Pieces with their log probabilities, in the order of the ids. */
  pieces: [piece: string, score: number][]
  /** Id of the piece that stands for anything unknown. */
  unknown: number
  /** Character rules (see Charsmap); empty where there are none. */
  charsmap: Uint8Array
}

type Field = { number: number; value: number } | { number: number; bytes: Uint8Array }

/** The fields of one message: varints and 32-bit words as numbers, nested messages and strings as bytes. */
function* fields(bytes: Uint8Array, fail: (detail: string) => StarError): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      if (at >= bytes.length || factor > 2 ** 63) throw fail(`a number at byte ${at} does not end`)
      const byte = bytes[at++]
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  const take = (size: number): number => {
    if (size > bytes.length - at) throw fail(`${size} bytes are said to follow, but ${bytes.length - at} are left`)
    at += size
    return at - size
  }
  while (at < bytes.length) {
    const tag = varint()
    const number = Math.floor(tag / 8)
    switch (tag % 8) {
      case 0:
        yield { number, value: varint() }
        break
      case 1:
        take(8)
        break
      case 2: {
        const size = varint()
        const begin = take(size)
        yield { number, bytes: bytes.subarray(begin, begin + size) }
        break
      }
      case 5:
        yield { number, value: view.getFloat32(take(4), true) }
        break
      default:
        throw fail(`a field of unknown type ${tag % 8}`)
    }
  }
}

const unigram = 1
const unknownPiece = 2

/**
 * Reads the parts that a unigram tokenizer needs: ModelProto 1 pieces (1 piece, 2 score, 3 type), 2 trainer_spec (3 model_type),
 * 3 normalizer_spec (2 precompiled_charsmap), as sentencepiece_model.proto numbers them.
 * @throws ERR_FILE when the file is damaged or holds another kind of model
 */
export function parseSentencePiece(bytes: Uint8Array, source: string): SentencePieceModel {
  const fail = (detail: string): StarError =>
    new StarError('ERR_FILE', `${source} is not a SentencePiece model: ${detail}. Download it again`)
  const pieces: [string, number][] = []
  let unknown = -1
  let kind = unigram
  let charsmap: Uint8Array = new Uint8Array(0)
  const text = new TextDecoder()
  for (const field of fields(bytes, fail)) {
    if (!('bytes' in field)) continue
    if (field.number === 1) {
      let [piece, score] = ['', 0]
      for (const part of fields(field.bytes, fail)) {
        if (part.number === 1 && 'bytes' in part) piece = text.decode(part.bytes)
        if (part.number === 2 && 'value' in part) score = part.value
        if (part.number === 3 && 'value' in part && part.value === unknownPiece) unknown = pieces.length
      }
      pieces.push([piece, score])
    } else if (field.number === 2) {
      for (const part of fields(field.bytes, fail)) if (part.number === 3 && 'value' in part) kind = part.value
    } else if (field.number === 3) {
      for (const part of fields(field.bytes, fail)) if (part.number === 2 && 'bytes' in part) charsmap = part.bytes
    }
  }
  if (kind !== unigram)
    throw new StarError(
      'ERR_FILE',
      `${source} holds a model of type ${kind}, expected ${unigram} (unigram), as T5 has it`,
    )
  if (unknown < 0) throw fail(`it has ${pieces.length} pieces, none of them for what is unknown`)
  return { pieces, unknown, charsmap }
}
