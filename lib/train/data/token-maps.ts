/**
 * Token maps of images: the tokenizer's indices over all scales, computed when an image is met for the first time and kept
 * in a cache on disk (680 tokens take 1.4 kB).
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type LoadedSample, RecordCache, type RecordCacheOptions, toTensor } from '../../data/index.js'
import type { Tokenizer } from '../../models/tokenizer/index.js'
import { StarError } from '../../native/index.js'
import { concat, noGrad, reshape, scope } from '../../tensor/index.js'

const format = 'star-token-maps-2'
/** Images that are tokenized together. */
const chunk = 32

export class TokenMaps {
  /** Folder of the cache, for loaders that leave out pixels nobody needs. */
  readonly folder: string
  /** L, tokens over all scales. */
  readonly length: number
  readonly #cache: RecordCache

  /**
   * @param root folder that holds the caches of all tokenizers
   * @param options of the cache
   * @throws ERR_FILE when the cache cannot be made or read
   */
  constructor(
    readonly tokenizer: Tokenizer,
    readonly resolution: number,
    root: string,
    options?: RecordCacheOptions,
  ) {
    const { patchNums } = tokenizer.config
    this.length = patchNums.reduce((n, p) => n + p * p, 0)
    const hash = createHash('sha256')
    for (const part of identity(tokenizer, resolution)) hash.update(part)
    this.folder = join(root, `tokens-${hash.digest('hex').slice(0, 16)}`)
    this.#cache = new RecordCache(this.folder, options)
  }

  /**
   * Indices of a batch, (B, L) row-major. Which images share a pass depends on the batch only, never on what is known
   * already, so a run that is repeated from any of its steps sees the same tokens.
   */
  of(samples: readonly LoadedSample[], device: string): Int32Array {
    this.#cache.refresh()
    const all = new Int32Array(samples.length * this.length)
    for (let begin = 0; begin < samples.length; begin += chunk) {
      const part = samples.slice(begin, begin + chunk)
      const known = part.map(({ key, cached }) => cached ?? this.#cache.get(key!))
      const made = known.includes(null) ? this.#tokenize(part, device) : []
      const rows = known.map((row, b) => row ?? made[b])
      this.#cache.add(part.flatMap(({ key }, b) => (known[b] ? [] : [[key!, made[b]]])))
      rows.forEach((row, b) => {
        if (row.length !== 2 * this.length) this.#damaged(part[b].id)
        // A copy, as 16-bit numbers must lie at even addresses.
        all.set(new Uint16Array(Uint8Array.from(row).buffer), (begin + b) * this.length)
      })
    }
    return all
  }

  /** Indices of each sample as 16-bit numbers, (L) a row. */
  #tokenize(samples: readonly LoadedSample[], device: string): Uint8Array[] {
    const pixels = samples.map(({ id, pixels }) => pixels ?? this.#damaged(id))
    const indices = noGrad(() =>
      scope(() => {
        const maps = this.tokenizer.tokenize(toTensor(pixels, this.resolution, { device }))
        return concat(
          maps.map((map) => reshape(map, [samples.length, -1])),
          1,
        ).ints() // (B, L)
      }),
    )
    return samples.map((_, b) => {
      const row = indices.subarray(b * this.length, (b + 1) * this.length)
      return new Uint8Array(Uint16Array.from(row).buffer)
    })
  }

  #damaged(id: string): never {
    throw new StarError(
      'ERR_FILE',
      `${this.folder} holds no ${this.length} tokens of image ${JSON.stringify(id)}: remove the folder, it is made again`,
    )
  }

  /** Closes the cache. */
  dispose(): void {
    this.#cache.close()
  }
}

/** What token maps depend on: all that the tokenizer was made of, and the size of the images. */
function* identity(tokenizer: Tokenizer, resolution: number): Generator<string | Uint8Array> {
  yield `${format}\0${resolution}\0${JSON.stringify(tokenizer.config)}`
  for (const { name, tensor } of tokenizer.namedTensors()) {
    yield `\0${name}\0`
    yield new Uint8Array(tensor.handle.read())
  }
}
