/**
 * Token maps of images: the tokenizer's indices over all scales, computed when an image is met for the first time and kept
 * in a cache on disk (680 tokens take 1.4 kB).
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import {
  type LoadedSample,
  type PictureSize,
  RecordCache,
  type RecordCacheOptions,
  toTensor,
} from '../../data/index.js'
import { gridOf, gridsOf, positionsIn } from '../../models/grid.js'
import { downsampling, type Tokenizer } from '../../models/tokenizer/index.js'
import { StarError } from '../../native/index.js'
import { cast, concat, noGrad, reshape, scope } from '../../tensor/index.js'

const format = 'star-token-maps-2'
const latentFormat = 'star-token-maps-latents-1'
/** Images that are tokenized together. */
const chunk = 32

export interface TokenMapsOptions extends RecordCacheOptions {
  /** Whether the latents are kept too, which takes 2·h·w·Z bytes more an image. */
  latents?: boolean
}

/** What a tokenizer makes of images. */
export interface Tokenized {
  /** Indices over all scales, (B, L) row-major. */
  tokens: Int32Array
  /** Bit patterns of the latents before quantization in f16, (B, h, w, Z) row-major; null where they are not kept. */
  latents: Uint16Array | null
}

export class TokenMaps {
  /** Folder of the cache, for loaders that leave out pixels nobody needs. */
  readonly folder: string
  /** L, tokens over all scales of a square. */
  readonly length: number
  /** Whether latents are kept. */
  readonly #latents: boolean
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
    { latents = false, ...options }: TokenMapsOptions = {},
  ) {
    this.length = tokenizer.config.patchNums.reduce((n, p) => n + p * p, 0)
    this.#latents = latents
    const hash = createHash('sha256')
    for (const part of identity(tokenizer, resolution, latents ? latentFormat : format)) hash.update(part)
    this.folder = join(root, `tokens-${hash.digest('hex').slice(0, 16)}`)
    this.#cache = new RecordCache(this.folder, options)
  }

  /** L of pictures of a size, and the numbers of a latent that are kept, h·w·Z or 0. */
  #lengths(size: PictureSize): { length: number; latent: number } {
    const { config } = this.tokenizer
    const grid = gridOf(size, downsampling(config))
    return {
      length: gridsOf(config.patchNums, grid).reduce((n, map) => n + positionsIn(map), 0),
      latent: this.#latents ? positionsIn(grid) * config.latentChannels : 0,
    }
  }

  /**
   * What the tokenizer makes of a batch, all of one size. Which images share a pass depends on the batch only, never on what is known
   * already, so a run that is repeated from any of its steps sees the same tokens.
   */
  of(samples: readonly LoadedSample[], size: PictureSize, device: string): Tokenized {
    const { length, latent } = this.#lengths(size)
    const tokens = new Int32Array(samples.length * length)
    const latents = this.#latents ? new Uint16Array(samples.length * latent) : null
    const rowLength = length + latent
    for (let begin = 0; begin < samples.length; begin += chunk) {
      const part = samples.slice(begin, begin + chunk)
      const known = part.map(({ key, cached }) => cached ?? this.#cache.get(key!))
      const made = known.includes(null) ? this.#tokenize(part, size, device) : []
      const rows = known.map((row, b) => row ?? made[b])
      this.#cache.add(part.flatMap(({ key }, b) => (known[b] ? [] : [[key!, made[b]]])))
      rows.forEach((bytes, b) => {
        if (bytes.length !== 2 * rowLength) this.#damaged(part[b].id, length)
        // A copy, as 16-bit numbers must lie at even addresses.
        const row = new Uint16Array(Uint8Array.from(bytes).buffer)
        tokens.set(row.subarray(0, length), (begin + b) * length)
        latents?.set(row.subarray(length), (begin + b) * latent)
      })
    }
    return { tokens, latents }
  }

  /** Indices of each sample as 16-bit numbers, and its latent where latents are kept. */
  #tokenize(samples: readonly LoadedSample[], size: PictureSize, device: string): Uint8Array[] {
    const { length, latent } = this.#lengths(size)
    const pixels = samples.map(({ id, pixels }) => pixels ?? this.#damaged(id, length))
    const { indices, latents } = noGrad(() =>
      scope(() => {
        const feature = this.tokenizer.encode(toTensor(pixels, size, { device })) // (B, h, w, Z)
        const maps = this.tokenizer.quantizer.quantize(feature).indices
        const rows = maps.map((map) => reshape(map, [samples.length, -1]))
        return {
          indices: concat(rows, 1).ints(), // (B, L)
          latents: this.#latents ? new Uint16Array(cast(feature, 'f16').handle.read()) : null,
        }
      }),
    )
    return samples.map((_, b) => {
      const row = new Uint16Array(length + latent)
      row.set(indices.subarray(b * length, (b + 1) * length))
      if (latents) row.set(latents.subarray(b * latent, (b + 1) * latent), length)
      return new Uint8Array(row.buffer)
    })
  }

  #damaged(id: string, length: number): never {
    throw new StarError(
      'ERR_FILE',
      `${this.folder} holds no ${length} tokens of image ${JSON.stringify(id)}: remove the folder, it is made again`,
    )
  }

  /** Closes the cache. */
  dispose(): void {
    this.#cache.close()
  }
}

/** What token maps depend on: all that the tokenizer was made of, and the size of the images. */
function* identity(tokenizer: Tokenizer, resolution: number, format: string): Generator<string | Uint8Array> {
  yield `${format}\0${resolution}\0${JSON.stringify(tokenizer.config)}`
  for (const { name, tensor } of tokenizer.namedTensors()) {
    yield `\0${name}\0`
    yield new Uint8Array(tensor.handle.read())
  }
}
