/**
 * Text states of all captions of a data set: encoded once, whatever the encoder, kept as float16 in a file, and read from
 * there batch by batch (12,000 captions of 12 tokens of 384 channels take 120 MB, a million of 20 tokens of 1024 take 43 GB).
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readSafetensors } from '../checkpoint/index.js'
import { safetensorsParts } from '../checkpoint/safetensors-writer.js'
import { type WritableTensor, writeParts } from '../checkpoint/writable.js'
import type { TextEncoder } from '../models/text/index.js'
import { StarError } from '../native/index.js'
import { cast, concat, noGrad, reshape, scope, slice, Tensor } from '../tensor/index.js'

/** Text input of the transformer for a batch of captions. */
export interface TextBatch {
  /** (B, T, W) */
  states: Tensor
  /** (B, W) */
  pooled: Tensor
  /** u8 (B, T): 1 where there is a token */
  mask: Tensor
}

/** Named in the file and part of its name: another layout, or another way to encode, has another number. */
const format = 'star-text-states-2'
/** Captions that are encoded together and lie in one tensor. */
const chunk = 32
const chunkName = (index: number): string => `rows.${index}`

export class TextStates {
  readonly #index: ReadonlyMap<string, number>
  readonly #offsets: Int32Array
  readonly #chunks: readonly Tensor[]

  /**
   * @param captions in the order of the file
   * @param offsets first row of each caption, and one past the last: its vector, then a state a token
   * @param chunks f16 (rows, W), the rows of 32 captions each; owned from now on
   */
  private constructor(captions: readonly string[], offsets: Int32Array, chunks: readonly Tensor[]) {
    this.#index = new Map(captions.map((caption, i) => [caption, i]))
    this.#offsets = offsets
    this.#chunks = chunks
  }

  /**
   * Encodes every distinct caption, or opens what was encoded before: `cacheFile(hash)`, with a hash of captions and encoder.
   * @throws ERR_FILE when the file cannot be written or is damaged; the signal's reason once it fires
   */
  static async build(
    encoder: TextEncoder,
    captions: readonly string[],
    cacheFile: (hash: string) => string,
    onProgress: (done: number, total: number) => void = () => {},
    signal?: AbortSignal,
  ): Promise<TextStates> {
    // Captions of like length share a chunk, so that little padding is computed.
    const distinct = [...new Set(captions)].sort((a, b) => a.length - b.length)
    const hash = createHash('sha256').update(`${format}\0${encoder.fingerprint()}`)
    for (const caption of distinct) hash.update(`\0${caption}`)
    const file = cacheFile(hash.digest('hex').slice(0, 16))
    if (!existsSync(file)) {
      const parts = safetensorsParts(encoded(encoder, distinct, onProgress), { format, encoder: encoder.name })
      await writeParts(file, parts, signal)
    }
    return TextStates.#open(file, distinct)
  }

  static #open(file: string, captions: readonly string[]): TextStates {
    const { tensors } = readSafetensors(file)
    const offsets = tensors.get('offsets')
    const chunks = Array.from({ length: Math.ceil(captions.length / chunk) }, (_, i) => tensors.get(chunkName(i)))
    if (offsets?.count !== captions.length + 1 || chunks.includes(undefined)) {
      for (const tensor of tensors.values()) tensor.dispose()
      throw new StarError('ERR_FILE', `${file} does not hold ${captions.length} captions: remove it, it is made again`)
    }
    const places = offsets.ints()
    offsets.dispose()
    return new TextStates(captions, places, chunks as Tensor[])
  }

  /** W */
  get width(): number {
    return this.#chunks[0].dim(1)
  }

  /** States of these captions, padded to the longest. */
  batch(captions: readonly string[], device: string): TextBatch {
    const rows = captions.map((caption) => this.#rows(caption))
    const w = this.width
    const lengths = rows.map((bits) => bits.length / w - 1)
    const longest = Math.max(...lengths)
    const states = new Uint16Array(rows.length * longest * w)
    const pooled = new Uint16Array(rows.length * w)
    const mask = new Uint8Array(rows.length * longest)
    rows.forEach((bits, b) => {
      pooled.set(bits.subarray(0, w), b * w)
      states.set(bits.subarray(w), b * longest * w)
      mask.fill(1, b * longest, b * longest + lengths[b])
    })
    return {
      states: cast(Tensor.from(states, [rows.length, longest, w], { dtype: 'f16', device }), 'f32'), // (B, T, W)
      pooled: cast(Tensor.from(pooled, [rows.length, w], { dtype: 'f16', device }), 'f32'), // (B, W)
      mask: Tensor.from(mask, [rows.length, longest], { device }), // (B, T)
    }
  }

  /** float16 bits (1 + T, W) of one caption, from the mapped file. */
  #rows(caption: string): Uint16Array {
    const index = this.#index.get(caption)
    if (index === undefined)
      throw new StarError('ERR_ARGUMENT', `the caption ${JSON.stringify(caption.slice(0, 60))} was not encoded`)
    const number = Math.floor(index / chunk)
    const first = this.#offsets[number * chunk]
    return scope(() => {
      const part = slice(this.#chunks[number], 0, this.#offsets[index] - first, this.#offsets[index + 1] - first)
      return part.data() as Uint16Array
    })
  }

  /** Closes the file. */
  dispose(): void {
    for (const tensor of this.#chunks) tensor.dispose()
  }
}

/** The tensors of a file, whose captions are encoded when it is their turn to be written. */
function encoded(
  encoder: TextEncoder,
  captions: readonly string[],
  onProgress: (done: number, total: number) => void,
): WritableTensor[] {
  const offsets = new Int32Array(captions.length + 1)
  encoder.tokenCounts(captions).forEach((count, i) => {
    offsets[i + 1] = offsets[i] + 1 + count
  })
  const chunks = Array.from({ length: Math.ceil(captions.length / chunk) }, (_, i): WritableTensor => {
    const [begin, end] = [i * chunk, Math.min((i + 1) * chunk, captions.length)]
    return {
      name: chunkName(i),
      dtype: 'f16',
      shape: [offsets[end] - offsets[begin], encoder.width],
      read: () => {
        const bytes = noGrad(() => scope(() => rowsOf(encoder, captions.slice(begin, end))))
        onProgress(end, captions.length)
        return bytes
      },
    }
  })
  const read = (): Uint8Array => new Uint8Array(offsets.buffer)
  return [{ name: 'offsets', dtype: 'i32', shape: [offsets.length], read }, ...chunks]
}

/** For each caption its vector and its states, as float16. */
function rowsOf(encoder: TextEncoder, captions: readonly string[]): Uint8Array {
  const { states, pooled, lengths } = encoder.encode(captions, { trim: true })
  const rows = lengths.flatMap((length, b) => {
    const own = reshape(slice(states, 0, b, b + 1), states.shape.slice(1)) // (T, W)
    return [slice(pooled, 0, b, b + 1), slice(own, 0, 0, length)]
  })
  return new Uint8Array(cast(concat(rows, 0), 'f16').handle.read())
}
