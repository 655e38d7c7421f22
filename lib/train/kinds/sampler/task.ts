/** Training of a sampler head on the features of a frozen transformer, as a masked model of each scale's tokens. */

import type { Grid } from '../../../models/grid.js'
import { loadPart, type ModelSource } from '../../../models/source.js'
import {
  type DropPath,
  drawDropPath,
  hiddenMatrices,
  SamplerHead,
  type StarConfig,
  StarTransformer,
  samplerObjective,
  sliceDropPath,
} from '../../../models/star/index.js'
import { textEncoderReference } from '../../../models/text/load.js'
import { StarError } from '../../../native/index.js'
import { concat, mul, noGrad, Random, type Share, slice, Tensor } from '../../../tensor/index.js'
import type { ModelFolderContent } from '../../../weights/index.js'
import { baseSource } from '../../config/base.js'
import { precisionOn } from '../../config/precision.js'
import type { Resolved } from '../../config/resolve.js'
import type { TaskContext } from '../../data/context.js'
import { sampleSize } from '../../data/shapes.js'
import { openSource, splitSamples, type TokenBatch, TokenData, type TokenSamples } from '../../data/token-data.js'
import type { RecordedSample } from '../../run-folder/recorder.js'
import type { RunFolder } from '../../run-folder/run-folder.js'
import { drawPrompts } from '../sample-pictures.js'
import { type Figures, type FrozenParts, type Metrics, scalars, type Task } from '../task.js'
import type { SamplerRunConfig } from './config.js'

/** A micro-batch: samples, 1 for each of their tokens that is known, (B·n), and the branches of the base that they leave out. */
interface Part {
  samples: TokenSamples
  known: Float32Array
  dropPath: DropPath
}

class SamplerTask implements Task<TokenSamples, Part> {
  readonly model: SamplerHead
  readonly #base: StarTransformer
  readonly hiddenMatrices = hiddenMatrices
  #random: Random

  constructor(
    private readonly config: Resolved<SamplerRunConfig>,
    private readonly data: TokenData,
  ) {
    const base = baseOf(data.source).transformer
    this.#random = new Random(config.seed)
    this.#base = new StarTransformer(base, { init: null, device: data.device })
    this.#base.setTrainable(false)
    this.model = new SamplerHead(base, { init: this.#random, device: data.device, scales: config.init })
    try {
      loadPart(data.source, 'transformer', this.#base)
    } catch (error) {
      this.#base.dispose()
      this.model.dispose()
      throw error
    }
    const precision = precisionOn(config.precision, data.device)
    if (precision !== 'f32') for (const tensor of this.#base.toHalf(precision).values()) tensor.dispose()
  }

  get source(): ModelSource {
    return this.data.source
  }

  get sides(): readonly number[] {
    return this.data.sides
  }

  /** The reference implementation spares none of the head's: each is a group of its own, which says nothing of decay. */
  noDecay(): boolean {
    return false
  }

  next(count: number): Promise<TokenSamples> {
    return this.data.next(count, this.#random, this.config.textDropout)
  }

  split(batch: TokenSamples, count: number): Part[] {
    const share = this.data.share(batch.ids.length)
    const known = this.#drawKnown(share, batch.grid, this.#random)
    // The reference implementation keeps the frozen base in training mode.
    const dropPath = drawDropPath(this.#base.config, share, this.#random)
    const each = known.length / batch.ids.length
    return splitSamples(batch, count).map(({ samples, begin, end }) => ({
      samples,
      known: known.subarray(begin * each, end * each),
      dropPath: sliceDropPath(dropPath, begin, end),
    }))
  }

  forwardBackward({ samples, known, dropPath }: Part, _step: number, backward: (loss: Tensor) => void): Figures {
    const { logits, targets } = this.#forward(this.data.batch(samples), known, dropPath)
    const { loss, open } = this.#objective(logits, targets, known, samples.grid)
    backward(loss)
    return {
      values: concat([scalars([loss]), open], 0),
      named: ([mean, ...rest]) => ({ loss: mean, ...openMetrics(rest) }),
    }
  }

  /** Loss and accuracy of open tokens of held-out images, under masks that are the same every time. */
  validate(): Promise<Metrics> {
    const random = new Random(this.config.seed)
    return this.data.overHeldOut((batch) => {
      const count = batch.targets.dim(0)
      const known = this.#drawKnown({ total: count, begin: 0, end: count }, batch.grid, random)
      const { logits, targets } = this.#forward(batch, known)
      return openMetrics(this.#objective(logits, targets, known, batch.grid).open.floats())
    })
  }

  async pictures(given: readonly string[]): Promise<RecordedSample[]> {
    const { tokenizer, text, device } = this.data
    const prompts = given.length > 0 ? given : await this.data.heldOutCaptions()
    const settings = { ...this.data.source.sampling, stableFrom: this.config.stableFrom }
    const size = sampleSize(this.config.data)
    const models = { tokenizer, transformer: this.#base, samplerHead: this.model }
    return drawPrompts({ ...models, text, device, prompts, settings, size })
  }

  beginEpoch(epoch: number): void {
    this.data.loaders.position.begin(epoch)
  }

  state(): unknown {
    return { random: this.#random.state(), data: this.data.state() }
  }

  restore(state: unknown): void {
    const { random, data } = state as { random: ReturnType<Random['state']>; data: unknown }
    this.#random = Random.restore(random)
    this.data.restore(data)
  }

  modelConfig(): ModelFolderContent['config'] {
    return {
      name: this.config.name,
      tokenizer: this.data.tokenizer.config,
      transformer: this.#base.config,
      textEncoder: textEncoderReference(baseOf(this.data.source).textEncoder),
      sampling: { ...this.data.source.sampling, stableFrom: this.config.stableFrom },
      speeds: { ...this.data.source.speeds },
      startedFrom: this.config.start?.weights,
      shapes: this.config.data.buckets,
    }
  }

  /** A base that was rounded to compute with is read again. */
  get frozen(): FrozenParts {
    const { tokenizer } = this.data
    return this.#base.dtype === 'f32' ? { tokenizer, transformer: this.#base } : { tokenizer }
  }

  dispose(): void {
    this.model.dispose()
    this.#base.dispose()
    this.data.dispose()
  }

  /**
   * 1 where a token is known, (B·n): of each sample a share arccos(u)/(π/2), u uniform. `random` is left where it is once all
   * samples of the batch have drawn.
   */
  #drawKnown({ total, begin, end }: Share, grid: Grid, random: Random): Float32Array {
    const levels = this.model.levelsOf(grid)
    const count = levels[levels.length - 1].end - levels[this.config.stableFrom].begin
    const batch = end - begin
    const known = new Float32Array(batch * count)
    random.skip((1 + count) * begin)
    for (let b = 0; b < batch; b++) {
      const share = Math.acos(random.next()) / (Math.PI / 2)
      for (let i = 0; i < count; i++) known[b * count + i] = random.next() < share ? 1 : 0
    }
    random.skip((1 + count) * (total - end))
    return known
  }

  #objective(logits: Tensor, targets: Tensor, known: Float32Array, grid: Grid): ReturnType<typeof samplerObjective> {
    const levels = this.model.levelsOf(grid)
    return samplerObjective(logits, targets, known, levels[levels.length - 1].end)
  }

  /** Logits (B, n, V) and targets i32 (B, n) of the scales from `stableFrom` on. */
  #forward(
    { maps, input, text, grid }: TokenBatch,
    known: Float32Array,
    dropPath: DropPath | null = null,
  ): { logits: Tensor; targets: Tensor } {
    const { stableFrom } = this.config
    const levels = this.model.levelsOf(grid)
    const first = levels[stableFrom].begin
    const last = levels[levels.length - 1].end
    const targets = concat(maps.slice(stableFrom), 1)
    const { features, rows } = noGrad(() => ({
      features: slice(this.#base.features({ input, text, grid, dropPath }), 1, first, last), // (B, n, C)
      rows: mul(
        this.data.tokenizer.quantizer.embedIndices(targets),
        Tensor.from(known, [...targets.shape, 1], { device: this.data.device }),
      ), // (B, n, Z)
    }))
    const { pooled } = text
    const logits = this.model.forward({ rows, features, pooled, grid, begin: stableFrom, end: levels.length })
    return { logits, targets }
  }
}

const openMetrics = ([Lopen, Accopen]: Iterable<number>): Metrics => ({ Lopen, Accopen })

/** @throws ERR_CONFIG for a model that a sampler head cannot stand on */
function baseOf({ transformer, textEncoder, path }: ModelSource): { transformer: StarConfig; textEncoder: string } {
  if (transformer && textEncoder) return { transformer, textEncoder }
  throw new StarError(
    'ERR_CONFIG',
    transformer
      ? `base: ${path} does not say its text encoder: name the one it was trained with (textEncoder)`
      : `base: ${path} holds no transformer: train one first`,
  )
}

export async function openData(config: SamplerRunConfig, run: RunFolder, context: TaskContext): Promise<TokenData> {
  const source = await openSource(baseSource(config), context)
  const { transformer, textEncoder } = baseOf(source)
  if (config.stableFrom >= transformer.patchNums.length)
    throw new StarError(
      'ERR_CONFIG',
      `stableFrom is ${config.stableFrom}, expected the index of one of the model's ${transformer.patchNums.length} scales, the first being 0`,
    )
  return TokenData.open({ data: config.data, source, textEncoder, seed: config.seed }, run, context)
}

export const createTask = (config: Resolved<SamplerRunConfig>, data: TokenData): Task => new SamplerTask(config, data)
