/** A data set as transformers train on it: captions with their text states, and the token maps of a frozen tokenizer. */
import { createHash } from 'node:crypto'
import { EpochSampler, ImageCaptionDataset, type SamplerState } from '../data/index.js'
import { type HubOptions, localModel, localTextEncoder } from '../models/local.js'
import { findModel, loadPart, type ModelSource, type SourceOptions } from '../models/source.js'
import { loadTextEncoder } from '../models/text/load.js'
import { imageSide, Tokenizer } from '../models/tokenizer/index.js'
import { StarError } from '../native/index.js'
import { noGrad, type Random, scope, Tensor } from '../tensor/index.js'
import type { RunFolder } from './run-folder.js'
import type { Batch, TaskContext } from './task.js'
import { type TextBatch, TextStates } from './text-states.js'
import { tokenMaps } from './token-maps.js'
import { openHeldOut } from './tokenizer-task.js'

/** Prompts longer than this may be dropped for guidance, as in the published program. */
const droppableLength = 20
const validationBatch = 32

/** A split of the data. */
export interface TokenSplit {
  data: ImageCaptionDataset
  /** Indices over all scales, (N, L) row-major. */
  tokens: Int32Array
}

/** Training samples that were drawn, each with one caption. */
export interface TokenSamples extends Batch {
  indices: readonly number[]
  captions: readonly string[]
}

/** What a forward pass by teacher forcing takes, and the tokens it should predict. */
export interface TokenBatch {
  /** i32 (B, p²) of each scale. */
  maps: Tensor[]
  /** i32 (B, L) */
  targets: Tensor
  /** The running f̂ at the size of each scale but the first, (B, L − p₁², Z). */
  input: Tensor
  text: TextBatch
}

export interface TokenDataOptions {
  data: { packs: readonly string[]; resolution: number }
  /** Of the order of samples. */
  seed: number
  /** The model or checkpoint that holds the tokenizer. */
  source: ModelSource
  /** Sides of the token maps; default: those that the tokenizer was trained with. */
  patchNums?: readonly number[]
  textEncoder: string
}

/** Finds a model by its name, folder, file or name on Hugging Face. @throws ERR_FILE when it is nowhere */
export async function openSource(name: string, options: SourceOptions, context: TaskContext): Promise<ModelSource> {
  const local = await localModel(name, options, downloads(context))
  return findModel(local.path, local.options)
}

export class TokenData {
  readonly #sampler: EpochSampler

  private constructor(
    readonly tokenizer: Tokenizer,
    readonly train: TokenSplit,
    readonly heldOut: TokenSplit | null,
    readonly text: TextStates,
    readonly device: string,
    seed: number,
  ) {
    this.#sampler = new EpochSampler({ length: train.data.length, seed })
  }

  /** Opens images, token maps and text states; what takes long is cached in the run folder. */
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
    const tokenizer = new Tokenizer(config, { init: null, device })
    tokenizer.setTrainable(false)
    loadPart(source, 'tokenizer', tokenizer)
    const tokenizerHash = shortHash(identity(tokenizer))
    const open = async (split: 'train' | 'held-out'): Promise<TokenSplit> => {
      const data = await ImageCaptionDataset.open([...options.data.packs], {
        resolution: options.data.resolution,
        split,
        signal: context.signal,
        onProgress: (done, total) => context.onProgress('decoding images', done, total),
      })
      const ids = Array.from({ length: data.length }, (_, i) => data.id(i)).join('\0')
      const file = `tokens-${shortHash([tokenizerHash, `${options.data.resolution}\0`, ids])}.safetensors`
      const tokens = await tokenMaps(
        tokenizer,
        data,
        run.file('cache', file),
        device,
        (done, total) => context.onProgress('token maps', done, total),
        context.signal,
      )
      return { data, tokens }
    }
    const train = await open('train')
    const heldOut = await openHeldOut(() => open('held-out'))
    const captions = [train, heldOut].flatMap((split) =>
      split ? Array.from({ length: split.data.length }, (_, i) => split.data.captions(i)).flat() : [],
    )
    const text = await textStates(options.textEncoder, captions, run, context)
    return new TokenData(tokenizer, train, heldOut, text, device, options.seed)
  }

  /** Training samples of an epoch in this process. */
  get sampleCount(): number {
    return this.#sampler.share
  }

  /** The next training samples, each with one of its captions; a long one becomes "" with chance `dropout`. */
  async next(count: number, random: Random, dropout: number): Promise<TokenSamples> {
    const { data } = this.train
    const indices = this.#sampler.next(count)
    const captions = indices.map((i) => {
      const caption = data.caption(i, random)
      const dropped = random.next() < dropout
      return dropped && caption.length > droppableLength ? '' : caption
    })
    return { ids: indices.map((i) => data.id(i)), epoch: this.#sampler.epoch, indices, captions }
  }

  /** The place in the training samples. */
  state(): unknown {
    return this.#sampler.state()
  }

  restore(state: unknown): void {
    this.#sampler.restore(state as SamplerState)
  }

  /** Training samples as tensors of the current scope. */
  batch({ indices, captions }: TokenSamples): TokenBatch {
    return this.#tensors(this.train, indices, captions)
  }

  #tensors(split: TokenSplit, samples: readonly number[], captions: readonly string[]): TokenBatch {
    const { patchNums } = this.tokenizer.config
    const length = patchNums.reduce((n, p) => n + p * p, 0)
    const { device } = this
    const rows = samples.map((i) => split.tokens.subarray(i * length, (i + 1) * length))
    const targets = Tensor.from(joined(rows), [samples.length, length], { device }) // (B, L)
    let begin = 0
    const maps = patchNums.map((p) => {
      const map = joined(rows.map((row) => row.subarray(begin, begin + p * p)))
      begin += p * p
      return Tensor.from(map, [samples.length, p * p], { device }) // (B, p²)
    })
    const input = this.tokenizer.quantizer.transformerInput(maps) // (B, L − p₁², Z)
    return { maps, targets, input, text: this.text.batch(captions, device) }
  }

  /** Mean over the held-out images, each with its first caption, of what `measure` finds in a batch; {} without such images. */
  async overHeldOut(measure: (batch: TokenBatch) => Record<string, number>): Promise<Record<string, number>> {
    const split = this.heldOut
    if (!split) return {}
    const means: Record<string, number> = {}
    for (let begin = 0; begin < split.data.length; begin += validationBatch) {
      const samples = Array.from({ length: Math.min(validationBatch, split.data.length - begin) }, (_, i) => begin + i)
      const found = noGrad(() =>
        scope(() =>
          measure(
            this.#tensors(
              split,
              samples,
              samples.map((i) => split.data.captions(i)[0]),
            ),
          ),
        ),
      )
      for (const [name, value] of Object.entries(found))
        means[name] = (means[name] ?? 0) + (value * samples.length) / split.data.length
    }
    return means
  }

  dispose(): void {
    this.tokenizer.dispose()
    this.text.dispose()
    this.train.data.close()
    this.heldOut?.data.close()
  }
}

const downloads = ({ signal, onProgress }: TaskContext): HubOptions => ({
  signal,
  onProgress: ({ done, total }) => onProgress('downloading', done, total),
})

/** The encoder is freed before a model is made. */
async function textStates(
  name: string,
  captions: readonly string[],
  run: RunFolder,
  context: TaskContext,
): Promise<TextStates> {
  const { device, signal, onProgress } = context
  const encoder = loadTextEncoder(await localTextEncoder(name, downloads(context)), device)
  try {
    return await TextStates.build(
      encoder,
      ['', ...captions],
      (hash) => run.file('cache', `text-${hash}.safetensors`),
      (done, total) => onProgress('text states', done, total),
      signal,
    )
  } finally {
    encoder.dispose()
  }
}

function shortHash(parts: Iterable<string | Uint8Array>): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex').slice(0, 16)
}

/** What token maps depend on: all that the tokenizer was made of. */
function* identity(tokenizer: Tokenizer): Generator<string | Uint8Array> {
  yield JSON.stringify(tokenizer.config)
  for (const { name, tensor } of tokenizer.namedTensors()) {
    yield name
    yield new Uint8Array(tensor.handle.read())
  }
}

function joined(rows: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(rows.reduce((n, row) => n + row.length, 0))
  let at = 0
  for (const row of rows) {
    all.set(row, at)
    at += row.length
  }
  return all
}
