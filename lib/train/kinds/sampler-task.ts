/** Training of a sampler head on the features of a frozen transformer, as a masked model of each scale's tokens. */

import { loadPart, type ModelSource } from '../../models/source.js'
import { SamplerHead, type StarConfig, StarTransformer, samplerLoss } from '../../models/star/index.js'
import { textEncoderReference } from '../../models/text/load.js'
import { StarError } from '../../native/index.js'
import { concat, crossEntropy, mul, noGrad, Random, reshape, type Share, slice, Tensor } from '../../tensor/index.js'
import { type ModelFolderContent, type NamedTensors, writeModelFolder } from '../../weights/index.js'
import { checkShares } from '../config/optimizer.js'
import type { SamplerRunConfig } from '../config/run.js'
import { openSource, splitSamples, type TokenBatch, TokenData, type TokenSamples } from '../data/token-data.js'
import type { RecordedSample } from '../run-folder/recorder.js'
import type { RunFolder } from '../run-folder/run-folder.js'
import { drawPrompts } from './sample-pictures.js'
import type { Metrics, Task, TaskContext } from './task.js'

/** A micro-batch: samples, and 1 for each of their tokens that is known, (B·n). */
interface Part {
  samples: TokenSamples
  known: Float32Array
}

class SamplerTask implements Task<TokenSamples, Part> {
  readonly model: SamplerHead
  readonly #base: StarTransformer
  #random: Random

  constructor(
    private readonly config: SamplerRunConfig,
    private readonly data: TokenData,
    base: StarConfig,
    private readonly source: ModelSource,
    private readonly textEncoder: string,
  ) {
    this.#random = new Random(config.seed)
    this.#base = new StarTransformer(base, { init: null, device: data.device })
    this.#base.setTrainable(false)
    this.model = new SamplerHead(base, { init: this.#random, device: data.device, scales: config.init })
  }

  /** The frozen transformer, to load its weights. */
  get base(): StarTransformer {
    return this.#base
  }

  get sides(): readonly number[] {
    return this.data.sides
  }

  get sampleCount(): number | null {
    return this.data.sampleCount
  }

  next(count: number): Promise<TokenSamples> {
    return this.data.next(count, this.#random, this.config.textDropout)
  }

  split(batch: TokenSamples, count: number): Part[] {
    const known = this.#drawKnown(this.data.share(batch.ids.length), this.#random)
    const each = known.length / batch.ids.length
    return splitSamples(batch, count).map(({ samples, begin, end }) => ({
      samples,
      known: known.subarray(begin * each, end * each),
    }))
  }

  forwardBackward({ samples, known }: Part, _step: number, backward: (loss: Tensor) => void): Metrics {
    const { logits, targets } = this.#forward(this.data.batch(samples), known)
    const loss = samplerLoss(logits, targets, known, this.model.levels[this.model.levels.length - 1].end)
    const metrics = openMetrics(logits, targets, known)
    backward(loss)
    return { loss: loss.item(), ...metrics }
  }

  /** Loss and accuracy of open tokens of held-out images, under masks that are the same every time. */
  validate(): Promise<Metrics> {
    const random = new Random(this.config.seed)
    return this.data.overHeldOut((batch) => {
      const count = batch.targets.dim(0)
      const known = this.#drawKnown({ total: count, begin: 0, end: count }, random)
      const { logits, targets } = this.#forward(batch, known)
      return openMetrics(logits, targets, known)
    })
  }

  async pictures(given: readonly string[]): Promise<RecordedSample[]> {
    const { tokenizer, text, device } = this.data
    const prompts = given.length > 0 ? given : await this.data.heldOutCaptions()
    const settings = { ...this.source.sampling, stableFrom: this.config.stableFrom }
    return drawPrompts({ tokenizer, transformer: this.#base, samplerHead: this.model, text, device, prompts, settings })
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
      textEncoder: textEncoderReference(this.textEncoder),
      sampling: { ...this.source.sampling, stableFrom: this.config.stableFrom },
      startedFrom: this.config.start?.weights,
    }
  }

  exportTo(folder: string, weights: NamedTensors): void {
    // A base that was rounded to compute with is read again.
    const base =
      this.#base.dtype === 'f32' ? this.#base : new StarTransformer(this.#base.config, { init: null, device: 'cpu' })
    try {
      if (base !== this.#base) loadPart(this.source, 'transformer', base)
      writeModelFolder(folder, {
        config: this.modelConfig(),
        tokenizer: this.data.tokenizer,
        transformer: base,
        samplerHead: weights,
        dtype: 'f16',
      })
    } finally {
      if (base !== this.#base) base.dispose()
    }
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
  #drawKnown({ total, begin, end }: Share, random: Random): Float32Array {
    const { levels } = this.model
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

  /** Logits (B, n, V) and targets i32 (B, n) of the scales from `stableFrom` on. */
  #forward({ maps, input, text }: TokenBatch, known: Float32Array): { logits: Tensor; targets: Tensor } {
    const { stableFrom } = this.config
    const { levels } = this.model
    const first = levels[stableFrom].begin
    const last = levels[levels.length - 1].end
    const targets = concat(maps.slice(stableFrom), 1)
    const { features, rows } = noGrad(() => ({
      features: slice(this.#base.features({ input, text }), 1, first, last), // (B, n, C)
      rows: mul(
        this.data.tokenizer.quantizer.embedIndices(targets),
        Tensor.from(known, [...targets.shape, 1], { device: this.data.device }),
      ), // (B, n, Z)
    }))
    const logits = this.model.forward({ rows, features, pooled: text.pooled, begin: stableFrom, end: levels.length })
    return { logits, targets }
  }
}

/** Mean loss in nats and accuracy in percent of the tokens that are not known. */
function openMetrics(logits: Tensor, targets: Tensor, known: Float32Array): { Lopen: number; Accopen: number } {
  const { losses, predictions } = noGrad(() =>
    crossEntropy(reshape(logits, [known.length, -1]), reshape(targets, [known.length])),
  )
  const [loss, predicted, right] = [losses.floats(), predictions.ints(), targets.ints()]
  const open = [...known.keys()].filter((i) => known[i] === 0)
  const mean = (value: (i: number) => number): number =>
    open.reduce((sum, i) => sum + value(i), 0) / Math.max(1, open.length)
  return { Lopen: mean((i) => loss[i]), Accopen: 100 * mean((i) => (predicted[i] === right[i] ? 1 : 0)) }
}

export async function openSamplerTask(config: SamplerRunConfig, run: RunFolder, context: TaskContext): Promise<Task> {
  const { base, tokenizer, patchNums } = config
  checkShares(config.optimizer, context.ranks)
  const source = await openSource(base, { tokenizer, patchNums, textEncoder: config.textEncoder }, context)
  const { transformer, textEncoder, path } = source
  if (!transformer || !textEncoder)
    throw new StarError(
      'ERR_CONFIG',
      transformer
        ? `base: ${path} does not say its text encoder: name the one it was trained with (textEncoder)`
        : `base: ${path} holds no transformer: train one first`,
    )
  if (config.stableFrom >= transformer.patchNums.length)
    throw new StarError(
      'ERR_CONFIG',
      `stableFrom is ${config.stableFrom}, expected the index of one of the model's ${transformer.patchNums.length} scales, the first being 0`,
    )
  const data = await TokenData.open({ data: config.data, source, textEncoder, seed: config.seed }, run, context)
  let task: SamplerTask | null = null
  try {
    task = new SamplerTask(config, data, transformer, source, textEncoder)
    loadPart(source, 'transformer', task.base)
    if (config.precision !== 'f32') for (const tensor of task.base.toHalf(config.precision).values()) tensor.dispose()
    return task
  } catch (error) {
    ;(task ?? data).dispose()
    throw error
  }
}
