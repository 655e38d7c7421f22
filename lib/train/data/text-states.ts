/**
 * Text states of captions, encoded when a caption is met for the first time, whatever the encoder, and kept in a cache on disk
 * (a caption of 20 tokens of 1024 channels takes 86 kB in f32, 43 kB in f16).
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { cacheKeyBytes, RecordCache, type RecordCacheOptions } from '../../data/index.js'
import type { TextEncoder } from '../../models/text/index.js'
import { StarError } from '../../native/index.js'
import { cast, concat, noGrad, reshape, scope, slice, Tensor } from '../../tensor/index.js'

/** Text input of the transformer for a batch of captions. */
export interface TextBatch {
  /** (B, T, W) */
  states: Tensor
  /** (B, W) */
  pooled: Tensor
  /** u8 (B, T): 1 where there is a token */
  mask: Tensor
}

/** Part of the cache's name: another layout, or another way to encode, has another number. */
const format = 'star-text-states-3'

/** Element types in which states are kept. In f16 they are rounded: gradients were seen to differ by 8e-4. */
export const textStateTypes = ['f32', 'f16'] as const
export type TextStateType = (typeof textStateTypes)[number]

export interface TextStatesOptions extends RecordCacheOptions {
  /** Default: f32. */
  type?: TextStateType
}
/** Captions that are encoded together. */
const chunk = 32
/** The encoder is freed after so many batches that did not need it. */
const patience = 1000

type Numbers = Uint16Array | Float32Array

const keyOf = (caption: string): Buffer => createHash('sha256').update(caption).digest().subarray(0, cacheKeyBytes)

export class TextStates {
  /** W */
  readonly width: number
  readonly #load: () => TextEncoder
  readonly #cache: RecordCache
  readonly #type: TextStateType
  #encoder: TextEncoder | null
  /** Batches since the encoder was needed. */
  #idle = 0

  /**
   * @param load loads the encoder; called again when it was freed and is needed
   * @param root folder that holds the caches of all encoders
   * @param options of the cache
   * @throws ERR_FILE when the cache cannot be made or read, and what `load` throws
   */
  constructor(load: () => TextEncoder, root: string, { type = 'f32', ...options }: TextStatesOptions = {}) {
    this.#load = load
    this.#type = type
    this.#encoder = load()
    this.width = this.#encoder.width
    try {
      const name = `${format}\0${this.#encoder.fingerprint()}${type === 'f16' ? '' : `\0${type}`}`
      const hash = createHash('sha256').update(name).digest('hex').slice(0, 16)
      this.#cache = new RecordCache(join(root, `text-${hash}`), options)
    } catch (error) {
      this.#encoder.dispose()
      throw error
    }
  }

  /**
   * Rows of each distinct caption, made of those that the cache does not hold. Which captions share a pass depends on the given
   * ones only, never on what is known already, so the states are the same, bit for bit, when a run is repeated from any of its
   * steps.
   */
  #rows(captions: readonly string[]): Map<string, Numbers> {
    const distinct = [...new Set(captions)].sort((a, b) => a.length - b.length || (a < b ? -1 : 1))
    const rows = new Map<string, Numbers>()
    let idle = true
    for (let begin = 0; begin < distinct.length; begin += chunk) {
      const part = distinct.slice(begin, begin + chunk)
      const known = part.map((caption) => this.#cache.get(keyOf(caption)))
      let made: Uint8Array[] = []
      if (known.includes(null)) {
        idle = false
        this.#encoder ??= this.#load()
        made = noGrad(() => scope(() => this.#encode(this.#encoder!, part)))
        this.#cache.add(part.flatMap((caption, i) => (known[i] ? [] : [[keyOf(caption), made[i]]])))
      }
      part.forEach((caption, i) => {
        rows.set(caption, this.#numbers(caption, known[i] ?? made[i]))
      })
    }
    this.#idle = idle ? this.#idle + 1 : 0
    if (this.#idle === patience) this.#release()
    return rows
  }

  /** For each caption its vector and its states: (1 + T, W). */
  #encode(encoder: TextEncoder, captions: readonly string[]): Uint8Array[] {
    const { states, pooled, lengths } = encoder.encode(captions, { trim: true })
    return Array.from(lengths, (length, b) => {
      const own = reshape(slice(states, 0, b, b + 1), states.shape.slice(1)) // (T, W)
      const rows = concat([slice(pooled, 0, b, b + 1), slice(own, 0, 0, length)], 0) // (1 + length, W)
      return new Uint8Array(cast(rows, this.#type).handle.read())
    })
  }

  /** States of these captions, padded to the longest. */
  batch(captions: readonly string[], device: string): TextBatch {
    const known = this.#rows(captions)
    const rows = captions.map((caption) => known.get(caption)!)
    const w = this.width
    const lengths = rows.map((bits) => bits.length / w - 1)
    const longest = Math.max(...lengths)
    const states = new this.#array(rows.length * longest * w)
    const pooled = new this.#array(rows.length * w)
    const mask = new Uint8Array(rows.length * longest)
    rows.forEach((bits, b) => {
      pooled.set(bits.subarray(0, w), b * w)
      states.set(bits.subarray(w), b * longest * w)
      mask.fill(1, b * longest, b * longest + lengths[b])
    })
    return {
      states: cast(Tensor.from(states, [rows.length, longest, w], { dtype: this.#type, device }), 'f32'), // (B, T, W)
      pooled: cast(Tensor.from(pooled, [rows.length, w], { dtype: this.#type, device }), 'f32'), // (B, W)
      mask: Tensor.from(mask, [rows.length, longest], { device }), // (B, T)
    }
  }

  /** Numbers of the type, those of float16 as bits. */
  get #array(): Uint16ArrayConstructor | Float32ArrayConstructor {
    return this.#type === 'f16' ? Uint16Array : Float32Array
  }

  /** The numbers (1 + T, W) of an entry. */
  #numbers(caption: string, bytes: Uint8Array): Numbers {
    const row = this.#array.BYTES_PER_ELEMENT * this.width
    if (bytes.length % row !== 0 || bytes.length < 2 * row)
      throw new StarError(
        'ERR_FILE',
        `${this.#cache.folder} holds no states of the caption ${JSON.stringify(caption.slice(0, 60))}: remove the folder, it is made again`,
      )
    // A copy, as numbers must lie at multiples of their size.
    return new this.#array(Uint8Array.from(bytes).buffer)
  }

  #release(): void {
    this.#encoder?.dispose()
    this.#encoder = null
  }

  /** Frees the encoder and closes the cache. */
  dispose(): void {
    this.#release()
    this.#cache.close()
  }
}
