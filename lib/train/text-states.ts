/**
 * Text states of all captions of a data set, encoded once. They are kept as float16 (110 MB for 12,000 captions of 12
 * tokens) and cached in a file named by the hash of encoder and captions.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { readSafetensors, writeSafetensors } from '../checkpoint/index.js'
import type { TextEncoder } from '../models/text/index.js'
import { cast, noGrad, scope, Tensor } from '../tensor/index.js'

/** Text input of the transformer for a batch of captions. */
export interface TextBatch {
  /** (B, T, W) */
  states: Tensor
  /** (B, W) */
  pooled: Tensor
  /** u8 (B, T): 1 where there is a token */
  mask: Tensor
}

export class TextStates {
  readonly #index: Map<string, number>

  private constructor(
    captions: readonly string[],
    readonly width: number,
    /** First row of each caption in `states`, and one past the last. */
    readonly offsets: Int32Array,
    /** float16 bits (Σ tokens, W) */
    readonly states: Uint16Array,
    /** float16 bits (N, W) */
    readonly pooled: Uint16Array,
  ) {
    this.#index = new Map(captions.map((caption, i) => [caption, i]))
  }

  /**
   * Encodes every distinct caption, or reads them from `cacheFile(hash)`.
   * @param cacheFile where to keep the states of captions with this hash
   */
  static async build(
    encoder: TextEncoder,
    captions: readonly string[],
    cacheFile: (hash: string) => string,
    onProgress: (done: number, total: number) => void = () => {},
    signal?: AbortSignal,
  ): Promise<TextStates> {
    const distinct = [...new Set(captions)]
    const hash = createHash('sha256')
      .update(encoder.name)
      .update('\0')
      .update(distinct.join('\0'))
      .digest('hex')
      .slice(0, 16)
    const file = cacheFile(hash)
    if (!existsSync(file)) {
      mkdirSync(dirname(file), { recursive: true })
      await encodeAll(encoder, distinct, file, onProgress, signal)
    }
    return scope(() => {
      const { tensors } = readSafetensors(file)
      const pooled = tensors.get('pooled')!
      return new TextStates(
        distinct,
        pooled.shape[1],
        tensors.get('offsets')!.ints(),
        tensors.get('states')!.data() as Uint16Array,
        pooled.data() as Uint16Array,
      )
    })
  }

  /** States of these captions, padded to the longest. */
  batch(captions: readonly string[], device: string): TextBatch {
    const rows = captions.map((caption) => this.#index.get(caption)!)
    const lengths = rows.map((i) => this.offsets[i + 1] - this.offsets[i])
    const longest = Math.max(...lengths)
    const w = this.width
    const states = new Uint16Array(rows.length * longest * w)
    const pooled = new Uint16Array(rows.length * w)
    const mask = new Uint8Array(rows.length * longest)
    rows.forEach((i, b) => {
      states.set(this.states.subarray(this.offsets[i] * w, this.offsets[i + 1] * w), b * longest * w)
      pooled.set(this.pooled.subarray(i * w, (i + 1) * w), b * w)
      mask.fill(1, b * longest, b * longest + lengths[b])
    })
    return {
      states: cast(Tensor.from(states, [rows.length, longest, w], { dtype: 'f16', device }), 'f32'), // (B, T, W)
      pooled: cast(Tensor.from(pooled, [rows.length, w], { dtype: 'f16', device }), 'f32'), // (B, W)
      mask: Tensor.from(mask, [rows.length, longest], { device }), // (B, T)
    }
  }
}

async function encodeAll(
  encoder: TextEncoder,
  captions: readonly string[],
  file: string,
  onProgress: (done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const chunk = 32
  const states: Uint16Array[] = []
  const pooled: Uint16Array[] = []
  const offsets = new Int32Array(captions.length + 1)
  // Captions of like length share a chunk, so that little padding is computed.
  const order = captions.map((_, i) => i).sort((a, b) => captions[a].length - captions[b].length)
  const statesOf: Uint16Array[] = new Array(captions.length)
  const pooledOf: Uint16Array[] = new Array(captions.length)
  for (let begin = 0; begin < order.length; begin += chunk) {
    signal?.throwIfAborted()
    const members = order.slice(begin, begin + chunk)
    noGrad(() =>
      scope(() => {
        const encoded = encoder.encode(
          members.map((i) => captions[i]),
          { trim: true },
        )
        const [, tokens, w] = encoded.states.shape
        const bits = cast(encoded.states, 'f16').data() as Uint16Array
        const pooledBits = cast(encoded.pooled, 'f16').data() as Uint16Array
        members.forEach((i, b) => {
          statesOf[i] = bits.slice(b * tokens * w, (b * tokens + encoded.lengths[b]) * w)
          pooledOf[i] = pooledBits.slice(b * w, (b + 1) * w)
        })
      }),
    )
    onProgress(Math.min(begin + chunk, order.length), order.length)
    await new Promise(setImmediate)
  }
  captions.forEach((_, i) => {
    states.push(statesOf[i])
    pooled.push(pooledOf[i])
    offsets[i + 1] = offsets[i] + statesOf[i].length / pooledOf[i].length
  })
  const w = encoder.width
  scope(() => {
    writeSafetensors(
      file,
      [
        ['offsets', Tensor.from(offsets, [offsets.length])],
        ['states', Tensor.from(joined(states), [offsets[captions.length], w], { dtype: 'f16' })],
        ['pooled', Tensor.from(joined(pooled), [captions.length, w], { dtype: 'f16' })],
      ],
      { format: 'star-text-states-1', encoder: encoder.name },
    )
  })
}

function joined(parts: readonly Uint16Array[]): Uint16Array {
  const all = new Uint16Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
