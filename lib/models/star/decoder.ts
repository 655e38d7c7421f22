/** Sampling state of the transformer: text keys and values of the prompts, and the cache of all tokens' keys and values. */
import { StarError } from '../../native/index.js'
import { cast, embedding, keep, noGrad, reshape, scope, slice, Tensor } from '../../tensor/index.js'
import type { Grid } from '../grid.js'
import type { KeysValues, TextKeysValues } from './attention.js'
import { BranchOutputs, checkPruning, keptShare, keptTokens, type Pruning } from './pruning.js'
import { type StarTransformer, type TextInput, textKeysValues } from './transformer.js'

export interface DecoderOptions {
  /** Encoded prompts, each once. */
  text: TextInput
  /** The prompt of each sample of the batch, an index into `text`; default: one sample a prompt, in order. */
  rows?: readonly number[]
  /**
   * In the mode `first-sample`: the first so many samples attend to the text of their own prompts, and sample i adds what
   * sample i mod `attending` got. 1, the default, is the reference implementation's rule; the number of images of a batch
   * [images…, ""…] makes each image what it is in a batch of its own.
   */
  attending?: number
  /** The last scale's map, where pictures are no squares of the model's side. */
  grid?: Grid
  /** From this scale on, 1 or more, the first half of the samples alone is computed (late guidance off). Default: never. */
  halfFrom?: number | null
  /** Tokens that are left out; default: none. */
  pruning?: Pruning | null
  /**
   * Told how much the tokens of a scale attend to the text in a block, f32 (B, h·w, T), of the attending samples in the mode
   * `first-sample`; the tensor is valid until it returns.
   */
  onAttention?: (scale: number, block: number, weights: Tensor) => void
}

interface PreparedText {
  pooled: Tensor
  start: Tensor
  texts: (TextKeysValues | null)[]
}

/** Room for the keys and values of all tokens of each block, for a number of samples of a number of tokens. */
export class KeysValuesArena {
  readonly #blocks: KeysValues[]

  constructor(
    model: StarTransformer,
    readonly samples: number,
    readonly length: number = model.length,
  ) {
    const { heads, width } = model.config
    const shape = [samples, length, heads, width / heads]
    const make = (): Tensor => keep(Tensor.empty(shape, { dtype: model.dtype, device: model.device }))
    this.#blocks = []
    try {
      for (const _ of model.blocks) this.#blocks.push({ k: make(), v: make() })
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  /** The part of the first `samples` samples of each block, on the same memory: owned by the caller. */
  first(samples: number): KeysValues[] {
    const part = (x: Tensor): Tensor => keep(slice(x, 0, 0, samples))
    return this.#blocks.map(({ k, v }) => ({ k: part(k), v: part(v) }))
  }

  dispose(): void {
    for (const { k, v } of this.#blocks) {
      k.dispose()
      v.dispose()
    }
  }
}

/**
 * Runs the transformer scale by scale. Text keys and values are computed once per prompt, the caches hold all L tokens from
 * the start, and nothing waits for the host. `dispose` frees everything.
 */
export class ScaleDecoder {
  /** Samples in the batch. */
  readonly batch: number
  /** Text vectors of the samples: (batch, textWidth). */
  readonly pooled: Tensor
  readonly #model: StarTransformer
  readonly #caches: readonly KeysValues[]
  readonly #texts: (TextKeysValues | null)[]
  readonly #start: Tensor
  readonly #attending: number
  readonly #own: KeysValuesArena | null
  readonly #grid: Grid | undefined
  readonly #halfFrom: number
  readonly #pruning: Pruning | null
  readonly #outputs: BranchOutputs | null = null
  readonly #onAttention: DecoderOptions['onAttention']
  #next = 0

  /** @param caches keys and values of each block for as many samples, handles that become the decoder's; default: memory of its own */
  constructor(model: StarTransformer, options: DecoderOptions, caches?: readonly KeysValues[]) {
    const { text, rows, attending = 1, grid, halfFrom, pruning = null } = options
    const prompts = text.pooled.dim(0)
    const samples = rows ?? Array.from({ length: prompts }, (_, i) => i)
    const outside = samples.find((r) => !Number.isInteger(r) || r < 0 || r >= prompts)
    if (outside !== undefined || samples.length === 0)
      throw new StarError(
        'ERR_ARGUMENT',
        `decoder: rows are [${samples.join(', ')}], expected indices of the ${prompts} prompts`,
      )
    if (!Number.isInteger(attending) || attending < 1 || samples.length % attending !== 0)
      throw new StarError(
        'ERR_ARGUMENT',
        `decoder: ${attending} attending samples in a batch of ${samples.length}, expected a divisor of it`,
      )
    if (halfFrom != null && (!Number.isInteger(halfFrom) || halfFrom < 1 || samples.length % 2 === 1))
      throw new StarError(
        'ERR_ARGUMENT',
        `decoder: half of ${samples.length} samples from scale ${halfFrom} on, expected an even number of samples and a scale from 1`,
      )
    if (pruning) checkPruning(pruning, model.config)
    this.batch = samples.length
    this.#halfFrom = halfFrom ?? model.levels.length
    this.#pruning = pruning
    this.#onAttention = options.onAttention
    this.#attending = attending
    this.#model = model
    this.#grid = grid
    this.#own = caches ? null : new KeysValuesArena(model, samples.length, model.levelsOf(grid).at(-1)!.end)
    this.#caches = caches ?? this.#own!.first(samples.length)
    try {
      if (pruning) this.#outputs = this.#branchOutputs(pruning)
      const made = this.#prepare(text, samples)
      this.pooled = made.pooled
      this.#start = made.start
      this.#texts = made.texts
    } catch (error) {
      this.#disposeCaches()
      throw error
    }
  }

  /** How many samples are computed at a scale. */
  samplesAt(scale: number): number {
    return scale >= this.#halfFrom ? this.batch / 2 : this.batch
  }

  #branchOutputs(pruning: Pruning): BranchOutputs {
    const { config, dtype, device } = this.#model
    const levels = this.#model.levelsOf(this.#grid)
    const all = this.samplesAt(pruning.from)
    const cross = config.crossAttention === 'first-sample' ? Math.min(this.#attending, all) : all
    const samples = [all, config.enableCross ? cross : 0, all]
    return new BranchOutputs(pruning, levels, config, samples, { dtype, device })
  }

  /** How many keys a block has of the scales before this one. */
  #keysBefore(scale: number, block: number): number {
    return this.#model
      .levelsOf(this.#grid)
      .slice(0, scale)
      .reduce((sum, { begin, end }, k) => {
        const share = this.#pruning ? keptShare(this.#pruning, k, block) : 1
        return sum + (share === 1 ? end - begin : keptTokens(end - begin, share))
      }, 0)
  }

  /** What the prompts give: owned by the caller, the mask shared by all blocks. */
  #prepare(text: TextInput, samples: readonly number[]): PreparedText {
    const model = this.#model
    const made = noGrad(() =>
      scope(() => {
        const firstSample = model.config.crossAttention === 'first-sample'
        const attendees = samples.slice(0, this.#attending)
        const attendedRows = [...new Set(attendees)]
        const attended = model.attendedText(text, attendedRows)
        const ids = firstSample ? attendees.map((row) => attendedRows.indexOf(row)) : samples
        return {
          pooled: gatherSamples(text.pooled, samples),
          start: gatherSamples(model.startTokens(text.pooled), samples),
          mask: attended?.mask ? gatherMask(attended.mask, ids) : null,
          texts: model.blocks.map((block) => {
            const own = attended && textKeysValues(block, attended)
            return own && { k: gatherSamples(own.k, ids), v: gatherSamples(own.v, ids) }
          }),
        }
      }),
    )
    const mask = made.mask && keep(made.mask)
    return {
      pooled: keep(made.pooled),
      start: keep(made.start),
      texts: made.texts.map((t) => t && { k: keep(t.k), v: keep(t.v), mask }),
    }
  }

  /** Starts again with other prompts of the same number, samples and length, in the same memory. */
  rewind({ text, rows }: DecoderOptions): void {
    const samples = rows ?? Array.from({ length: text.pooled.dim(0) }, (_, i) => i)
    const made = this.#prepare(text, samples)
    const pairs: [Tensor, Tensor][] = [
      [this.pooled, made.pooled],
      [this.#start, made.start],
      ...this.#texts.flatMap((own, i): [Tensor, Tensor][] => {
        const other = made.texts[i]
        return own && other
          ? [
              [own.k, other.k],
              [own.v, other.v],
            ]
          : []
      }),
    ]
    const [mask, otherMask] = [maskOf(this.#texts), maskOf(made.texts)]
    if (mask && otherMask) pairs.push([mask, otherMask])
    for (const [own, other] of pairs) {
      own.copyFrom(other)
      other.dispose()
    }
    this.seek(0)
  }

  /** Makes `scale` the next one. The caches must hold the keys and values of those before it. */
  seek(scale: number): void {
    this.#next = scale
  }

  /**
   * The next scale's features (B', h·w, C), from which `StarTransformer.logits` makes logits; B' is `samplesAt(scale)`.
   * @param scale its index: scales come in order
   * @param input (B', h·w, Z), the running f̂ at this scale's size; null for the first scale
   * @throws ERR_ARGUMENT when scales come out of order or the input is missing, ERR_SHAPE for an input of other samples
   */
  step(scale: number, input: Tensor | null): Tensor {
    if (scale !== this.#next || (scale === 0) !== (input === null))
      throw new StarError(
        'ERR_ARGUMENT',
        `decoder: scale ${scale} ${input ? 'with' : 'without'} input was asked for, expected scale ${this.#next} ${this.#next ? 'with' : 'without'} input`,
      )
    const samples = this.samplesAt(scale)
    if (input && input.dim(0) !== samples)
      throw new StarError('ERR_SHAPE', `decoder: the input has ${input.dim(0)} samples, expected ${samples}`)
    const features = noGrad(() =>
      scope(() => {
        const tokens = input ? this.#model.wordEmbed.forward(cast(input, this.#model.dtype)) : this.#start
        const watch = this.#onAttention
        const mask = maskOf(this.#texts)
        const ownMask = mask && first(mask, samples)
        const contexts = this.#caches.map(({ k, v }, block) => {
          const text = this.#texts[block]
          return {
            cache: { k: first(k, samples), v: first(v, samples), length: this.#keysBefore(scale, block) },
            text: text && { k: first(text.k, samples), v: first(text.v, samples), mask: ownMask },
            branches: this.#outputs?.ruleOf(scale, block),
            onAttention: watch && ((weights: Tensor) => watch(scale, block, weights)),
          }
        })
        return this.#model.runScale(scale, tokens, contexts, this.#grid)
      }),
    )
    this.#next++
    return features
  }

  dispose(): void {
    this.pooled.dispose()
    this.#start.dispose()
    for (const text of this.#texts) for (const tensor of [text?.k, text?.v, text?.mask]) tensor?.dispose()
    this.#disposeCaches()
  }

  #disposeCaches(): void {
    for (const { k, v } of this.#caches) {
      k.dispose()
      v.dispose()
    }
    this.#own?.dispose()
    this.#outputs?.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** The first `samples` of a tensor, or all where it has fewer; on the same memory. */
const first = (x: Tensor, samples: number): Tensor => (samples < x.dim(0) ? slice(x, 0, 0, samples) : x)

/** All blocks share one mask. */
const maskOf = (texts: readonly (TextKeysValues | null)[]): Tensor | null => texts.find((t) => t !== null)?.mask ?? null

/** x[ids] over the first dimension. */
function gatherSamples(x: Tensor, ids: readonly number[]): Tensor {
  const [rows, ...rest] = x.shape
  const table = reshape(x, [rows, x.count / rows])
  return reshape(embedding(table, Tensor.from(Int32Array.from(ids), [ids.length], { device: x.device })), [
    ids.length,
    ...rest,
  ])
}

/** mask[ids] of a u8 (rows, T) mask. */
function gatherMask(mask: Tensor, ids: readonly number[]): Tensor {
  const length = mask.dim(1)
  const values = mask.data()
  const gathered = Uint8Array.from(
    { length: ids.length * length },
    (_, i) => values[ids[Math.floor(i / length)] * length + (i % length)],
  )
  return Tensor.from(gathered, [ids.length, length], { device: mask.device })
}
