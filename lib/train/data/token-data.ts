/** A data set as transformers train on it: captions with their text states, and the token maps of a frozen tokenizer. */
import { type LoadedBatch, shareOf } from '../../data/index.js'
import { type Grid, gridOf, gridsOf, positionsIn } from '../../models/grid.js'
import { type HubOptions, localModel, localTextEncoder } from '../../models/local.js'
import { findModel, loadPart, type ModelSource, type SourceOptions } from '../../models/source.js'
import { loadTextEncoder } from '../../models/text/load.js'
import { downsampling, imageSide, SelfCorrection, scaleSides, Tokenizer } from '../../models/tokenizer/index.js'
import { StarError } from '../../native/index.js'
import { cast, concat, noGrad, Random, reshape, type Share, scope, Tensor } from '../../tensor/index.js'
import type { DataConfig } from '../config/data.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import type { Batch } from './batch.js'
import type { DownloadContext, TaskContext } from './context.js'
import { cacheOptions, cacheRoot, type Loaders, openLoaders } from './loaders.js'
import { trainingGrids } from './shapes.js'
import { type TextBatch, TextStates } from './text-states.js'
import { type Tokenized, TokenMaps } from './token-maps.js'

/** Prompts longer than this may be dropped for guidance, as in the reference implementation. */
const droppableLength = 20
const validationBatch = 32
const shownCaptions = 4
/** Numbers that `next` draws for a sample: which caption, and whether it is dropped; */
const drawsPerSample = 2
/** and where errors are made: how many, and the seed of which. */
const drawsPerErrors = 2

/** Training samples that were drawn, each with one caption. */
export interface TokenSamples extends Batch {
  captions: readonly string[]
  /** The last scale's map, h × w. */
  grid: Grid
  /** Indices over all scales, (B, L) row-major. */
  tokens: Int32Array
  /** Where errors are made in the fed tokens (self-correction): the latents in f16, and for each sample how much and which. */
  errors: { latents: Uint16Array; rates: readonly number[]; seeds: readonly number[] } | null
}

/** Equal parts of a batch in order, and the places [begin, end) of each. */
export function splitSamples(
  batch: TokenSamples,
  count: number,
): { samples: TokenSamples; begin: number; end: number }[] {
  const size = batch.ids.length / count
  const length = batch.tokens.length / batch.ids.length
  const latent = (batch.errors?.latents.length ?? 0) / batch.ids.length
  return Array.from({ length: count }, (_, i) => {
    const [begin, end] = [i * size, (i + 1) * size]
    const samples = {
      epoch: batch.epoch,
      grid: batch.grid,
      ids: batch.ids.slice(begin, end),
      captions: batch.captions.slice(begin, end),
      tokens: batch.tokens.subarray(begin * length, end * length),
      errors: batch.errors && {
        latents: batch.errors.latents.subarray(begin * latent, end * latent),
        rates: batch.errors.rates.slice(begin, end),
        seeds: batch.errors.seeds.slice(begin, end),
      },
    }
    return { samples, begin, end }
  })
}

/** What a forward pass by teacher forcing takes, and the tokens it should predict. */
export interface TokenBatch {
  /** The last scale's map, h × w. */
  grid: Grid
  /** The tokens it should predict, i32 (B, h_k·w_k) of each scale. */
  maps: Tensor[]
  /** i32 (B, L) */
  targets: Tensor
  /** The running f̂ at the size of each scale but the first, (B, L − p₁², Z). */
  input: Tensor
  text: TextBatch
}

export interface TokenDataOptions {
  data: DataConfig
  /** Of the order of samples. */
  seed: number
  /** The model or checkpoint that holds the tokenizer. */
  source: ModelSource
  /** Sides of the token maps; default: those that the tokenizer was trained with. */
  patchNums?: readonly number[]
  textEncoder: string
  /** Largest part of the fed tokens that is exchanged for near codes. */
  selfCorrection?: number
}

/** A model, by its name and what it does not say itself. */
export interface SourceReference {
  name: string
  options: SourceOptions
}

/** Finds a model by its name, folder, file or name on Hugging Face. @throws ERR_FILE when it is nowhere */
export async function openSource({ name, options }: SourceReference, context: DownloadContext): Promise<ModelSource> {
  const local = await localModel(name, options, downloads(context))
  return findModel(local.path, local.options)
}

export class TokenData {
  private constructor(
    /** The model that the tokenizer comes from. */
    readonly source: ModelSource,
    readonly tokenizer: Tokenizer,
    /** The last scale's map of each shape that is trained on. */
    readonly grids: readonly Grid[],
    readonly text: TextStates,
    readonly device: string,
    readonly maps: TokenMaps,
    readonly loaders: Loaders,
    private readonly group: TaskContext['group'],
    private readonly correction: { strength: number; errors: SelfCorrection } | null,
  ) {}

  /** Opens images, token maps and text states; what takes long is done when it is needed, and cached beside the data. */
  static async open(options: TokenDataOptions, run: RunFolder, context: TaskContext): Promise<TokenData> {
    const { device } = context
    const { source } = options
    const config = { ...source.tokenizer, patchNums: [...(options.patchNums ?? source.tokenizer.patchNums)] }
    const side = imageSide(config)
    if (side !== options.data.resolution)
      throw new StarError(
        'ERR_CONFIG',
        `"data.resolution" is ${options.data.resolution}, but token maps up to a side of ${config.patchNums.at(-1)} are those of ${side} pixels: ` +
          'set one by the other (patchNums names the sides)',
      )
    const grids = trainingGrids(options.data, downsampling(config))
    const tokenizer = new Tokenizer(config, { init: null, device })
    let [maps, loaders, text]: [TokenMaps?, Loaders?, TextStates?] = []
    try {
      tokenizer.setTrainable(false)
      loadPart(source, 'tokenizer', tokenizer)
      const root = cacheRoot(options.data, run)
      const caching = cacheOptions(options.data, run)
      const { selfCorrection: strength = 0 } = options
      const correction = strength > 0 ? { strength, errors: new SelfCorrection(tokenizer.quantizer) } : null
      maps = new TokenMaps(tokenizer, side, root, { ...caching, latents: correction !== null })
      loaders = await openLoaders(options, run, context, maps.folder)
      const encoder = await localTextEncoder(options.textEncoder, downloads(context))
      text = new TextStates(() => loadTextEncoder(encoder, device), root, { ...caching, type: options.data.textStates })
      return new TokenData(source, tokenizer, grids, text, device, maps, loaders, context.group, correction)
    } catch (error) {
      text?.dispose()
      loaders?.dispose()
      maps?.dispose()
      tokenizer.dispose()
      throw error
    }
  }

  /** Side in pixels of each scale. */
  get sides(): readonly number[] {
    return scaleSides(this.tokenizer.config)
  }

  /** Training samples of an epoch over all processes. */
  get sampleCount(): number | null {
    return this.loaders.sampleCount
  }

  /** This process's share of a batch of which it was given `own` samples. */
  share(own: number): Share {
    const { rank, size } = this.group
    return shareOf(own * size, { rank, ranks: size })
  }

  /**
   * This process's share of the next `count` training samples, each with one of its captions; a long one becomes "" with
   * chance `dropout`. `random` is left where it is once all of the `count` have drawn.
   */
  async next(count: number, random: Random, dropout: number): Promise<TokenSamples> {
    const batch = await this.loaders.train.next(count)
    const { samples, epoch } = batch
    const { total, begin, end } = this.share(samples.length)
    const draws = drawsPerSample + (this.correction ? drawsPerErrors : 0)
    random.skip(draws * begin)
    const drawn = samples.map(({ captions }) => {
      const caption = captions[random.integer(captions.length)]
      const dropped = random.next() < dropout
      const text = dropped && caption.length > droppableLength ? '' : caption
      if (!this.correction) return { text, rate: 0, seed: 0 }
      return { text, rate: random.next() * this.correction.strength, seed: random.integer(Number.MAX_SAFE_INTEGER) }
    })
    random.skip(draws * (total - end))
    const made = this.#prepared(
      batch,
      drawn.map(({ text }) => text),
    )
    const { latents } = made
    const errors = latents && { latents, rates: drawn.map(({ rate }) => rate), seeds: drawn.map(({ seed }) => seed) }
    return { ...made, errors, epoch }
  }

  #prepared({ samples, size }: LoadedBatch, captions: string[]): Omit<TokenSamples, 'epoch' | 'errors'> & Tokenized {
    const grid = gridOf(size, downsampling(this.tokenizer.config))
    return { ids: samples.map(({ id }) => id), captions, grid, ...this.maps.of(samples, size, this.device) }
  }

  /** The position in the training samples, see `DataPosition`. */
  state(): unknown {
    return this.loaders.position.state()
  }

  restore(state: unknown): void {
    this.loaders.position.restore(state)
  }

  /** Samples as tensors of the current scope; where errors are made, input and tokens follow from them. */
  batch({ tokens, captions, grid, errors }: Pick<TokenSamples, 'tokens' | 'captions' | 'grid' | 'errors'>): TokenBatch {
    const text = this.text.batch(captions, this.device)
    if (errors && this.correction) return { ...this.#withErrors(errors, grid), text }
    const { device } = this
    const sizes = gridsOf(this.tokenizer.config.patchNums, grid).map(positionsIn)
    const length = sizes.reduce((sum, size) => sum + size, 0)
    const count = captions.length
    const targets = Tensor.from(tokens, [count, length], { device }) // (B, L)
    let begin = 0
    const maps = sizes.map((size) => {
      const map = new Int32Array(count * size)
      for (let b = 0; b < count; b++) map.set(tokens.subarray(b * length + begin, b * length + begin + size), b * size)
      begin += size
      return Tensor.from(map, [count, size], { device }) // (B, h_k·w_k)
    })
    const input = this.tokenizer.quantizer.transformerInput(maps, grid) // (B, L − p₁², Z)
    return { grid, maps, targets, input, text }
  }

  #withErrors({ latents, rates, seeds }: NonNullable<TokenSamples['errors']>, grid: Grid): Omit<TokenBatch, 'text'> {
    const { quantizer, config } = this.tokenizer
    const shape = [rates.length, grid.rows, grid.cols, config.latentChannels]
    return noGrad(() => {
      const half = Tensor.from(latents, shape, { device: this.device })
      const randoms = seeds.map((seed) => new Random(seed))
      const quantized = this.correction!.errors.quantize(cast(half, 'f32'), rates, randoms)
      const maps = quantized.indices
      const targets = concat(
        maps.map((map) => reshape(map, [rates.length, -1])),
        1,
      ) // (B, L)
      return { grid, maps, targets, input: quantizer.transformerInput(quantized) } // (B, L − p₁², Z)
    })
  }

  /** Captions of the first held-out images, what sample pictures show where no prompts are given; [] without such images. */
  async heldOutCaptions(): Promise<string[]> {
    const { heldOut } = this.loaders
    if (!heldOut) return []
    for await (const { samples } of heldOut.pass(shownCaptions)) return samples.map(({ captions }) => captions[0])
    return []
  }

  /** Mean over the held-out images, each with its first caption, of what `measure` finds in a batch; {} without such images. */
  async overHeldOut(measure: (batch: TokenBatch) => Record<string, number>): Promise<Record<string, number>> {
    const sums: Record<string, number> = {}
    const { heldOut } = this.loaders
    if (!heldOut) return sums
    let total = 0
    for await (const batch of heldOut.pass(validationBatch)) {
      const { samples } = batch
      const prepared = this.#prepared(
        batch,
        samples.map(({ captions }) => captions[0]),
      )
      const found = noGrad(() => scope(() => measure(this.batch({ ...prepared, errors: null }))))
      for (const [name, value] of Object.entries(found)) sums[name] = (sums[name] ?? 0) + value * samples.length
      total += samples.length
    }
    return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / total]))
  }

  dispose(): void {
    this.tokenizer.dispose()
    this.text.dispose()
    this.maps.dispose()
    this.loaders.dispose()
  }
}

export const downloads = ({ signal, onProgress }: DownloadContext): HubOptions => ({
  signal,
  onProgress: ({ done, total }) => onProgress('downloading', done, total),
})
