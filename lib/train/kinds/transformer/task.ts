/** Training of the transformer on token maps that a frozen tokenizer made, by teacher forcing. */

import type { ModelSource } from '../../../models/source.js'
import {
  chooseTokens,
  type DropPath,
  drawDropPath,
  hiddenMatrices,
  type Level,
  levels,
  namedMetrics,
  StarTransformer,
  scaleShares,
  sliceDropPath,
  starConfig,
  type TokenSubset,
  tokenMetrics,
  tokenObjective,
  tokenWeights,
} from '../../../models/star/index.js'
import { textEncoderReference } from '../../../models/text/load.js'
import { StarError } from '../../../native/index.js'
import { concat, Random, type Tensor } from '../../../tensor/index.js'
import type { ModelFolderContent } from '../../../weights/index.js'
import type { Resolved } from '../../config/resolve.js'
import type { TaskContext } from '../../data/context.js'
import { sampleSize } from '../../data/shapes.js'
import { openSource, splitSamples, TokenData, type TokenSamples } from '../../data/token-data.js'
import type { RecordedSample } from '../../run-folder/recorder.js'
import type { RunFolder } from '../../run-folder/run-folder.js'
import { flatMetrics } from '../flat-metrics.js'
import { drawPrompts } from '../sample-pictures.js'
import { type Figures, type FrozenParts, type Metrics, scalars, type Task } from '../task.js'
import type { TransformerRunConfig } from './config.js'
import { checkTransformerRun, hostMemory, planTransformerRun } from './plan.js'
import { type Stage, stageAt } from './progressive.js'

/** A micro-batch: samples, the branches they leave out, and the tokens that are computed of each (null: all). */
interface Part {
  samples: TokenSamples
  dropPath: DropPath
  subset: TokenSubset | null
}

class TransformerTask implements Task<TokenSamples, Part> {
  readonly model: StarTransformer
  readonly hiddenMatrices = hiddenMatrices
  #random: Random

  constructor(
    private readonly config: Resolved<TransformerRunConfig>,
    private readonly data: TokenData,
  ) {
    this.#random = new Random(config.seed)
    const { patchNums, vocabSize, latentChannels } = data.tokenizer.config
    checkTokens(
      config,
      data.grids.map((grid) => levels(patchNums, grid)),
    )
    scaleShares(config.scaleWeights, levels(patchNums))
    this.model = new StarTransformer(
      { ...config.model, patchNums, vocabSize, latentChannels, textWidth: data.text.width },
      { init: this.#random, device: data.device, scales: config.init },
    )
  }

  get source(): ModelSource {
    return this.data.source
  }

  get sides(): readonly number[] {
    return this.data.sides
  }

  next(count: number): Promise<TokenSamples> {
    return this.data.next(count, this.#random, this.config.textDropout)
  }

  split(batch: TokenSamples, count: number, step: number): Part[] {
    const { model, config } = this
    const dropPath = drawDropPath(model.config, this.data.share(batch.ids.length), this.#random)
    const scales = this.#stage(step).finest + 1
    const subset = chooseTokens(model.levelsOf(batch.grid), { scales, drop: config.tokenDrop }, this.#random)
    return splitSamples(batch, count).map(({ samples, begin, end }) => ({
      samples,
      dropPath: sliceDropPath(dropPath, begin, end),
      subset,
    }))
  }

  forwardBackward(part: Part, step: number, backward: (loss: Tensor) => void): Figures {
    const { dropPath, subset } = part
    const { data, config, model } = this
    const { labelSmoothing, recompute, tokenDrop, progressive } = config
    const batch = data.batch(part.samples)
    const input = subset ? subset.cutInput(batch.input) : batch.input // (B, n − p₁², Z)
    const targets = subset ? subset.cutTargets(batch.targets) : batch.targets // (B, n)
    const { grid, text } = batch
    const logits = model.forward({ input, text, grid, subset, dropPath, recompute }) // (B, n, V)
    const all = model.levelsOf(grid)
    const ranges = subset?.levels ?? all
    const stage = this.#stage(step)
    const weights = this.#weights(ranges, all, stage)
    const { loss, sums } = tokenObjective(logits, targets, ranges, { labelSmoothing, weights })
    backward(loss)
    const [samples, tokens, vocab] = logits.shape
    return {
      values: concat([scalars([loss]), sums], 0),
      named: ([mean, ...rest]) => {
        const found = namedMetrics(rest, ranges, { batch: samples, vocab })
        return {
          loss: mean,
          ...flatMetrics(found),
          usage: found.usage,
          ...(tokenDrop && { tokens }),
          ...(progressive && { scales: stage.finest + 1, newScaleWeight: stage.weight }),
        }
      },
    }
  }

  /** Loss and accuracy on held-out images, all tokens of them. */
  validate(): Promise<Metrics> {
    return this.data.overHeldOut(({ input, text, grid, targets }) =>
      flatMetrics(tokenMetrics(this.model.forward({ input, text, grid }), targets, this.model.levelsOf(grid))),
    )
  }

  #stage(step: number): Stage {
    const { progressive, optimizer } = this.config
    const scales = this.model.levels.length
    if (!progressive) return { finest: scales - 1, weight: 1 }
    const { steps, warmupSteps: learningRateWarmup } = optimizer
    return stageAt(step, { ...progressive, scales, steps, learningRateWarmup })
  }

  /**
   * Weights of the computed tokens; undefined where each counts 1/n. Scales that are not trained yet keep their share, so that
   * the others weigh from the start what they weigh in the end.
   * @param ranges where the computed tokens of each scale lie
   * @param levels where all tokens do
   */
  #weights(ranges: readonly Level[], levels: readonly Level[], { finest, weight }: Stage): Float32Array | undefined {
    const { scaleWeights, tokenDrop } = this.config
    const length = levels[levels.length - 1].end
    if (scaleWeights === 'tokens' && finest === ranges.length - 1) return undefined
    const { begin, end } = ranges[finest]
    const weights =
      scaleWeights === 'tokens'
        ? new Float32Array(ranges[ranges.length - 1].end).fill(1 / Math.min(length, tokenDrop?.keep ?? length))
        : tokenWeights(scaleShares(scaleWeights, levels), ranges)
    for (let i = begin; i < end; i++) weights[i] *= weight
    return weights
  }

  async pictures(given: readonly string[]): Promise<RecordedSample[]> {
    const { tokenizer, text, device } = this.data
    const settings = this.config.sampling ?? {}
    const prompts = given.length > 0 ? given : await this.data.heldOutCaptions()
    const size = sampleSize(this.config.data)
    return drawPrompts({ tokenizer, transformer: this.model, text, device, prompts, settings, size })
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
      transformer: this.model.config,
      textEncoder: textEncoderReference(this.config.textEncoder),
      sampling: this.config.sampling,
      startedFrom: this.config.start?.weights,
      shapes: this.config.data.buckets,
    }
  }

  get frozen(): FrozenParts {
    return { tokenizer: this.data.tokenizer }
  }

  dispose(): void {
    this.model.dispose()
    this.data.dispose()
  }
}

/**
 * @param shapes the scales of each shape that is trained on
 * @throws ERR_CONFIG for tokens and scales that the model does not have
 */
function checkTokens({ tokenDrop, progressive }: TransformerRunConfig, shapes: readonly (readonly Level[])[]): void {
  const last = shapes[0].length - 1
  const length = Math.max(...shapes.map((all) => all[last].end))
  const refuse = (key: string, given: number, expected: string): never => {
    throw new StarError('ERR_CONFIG', `${key} is ${given}, expected ${expected}`)
  }
  if (tokenDrop) {
    const { fromScale, keep } = tokenDrop
    if (fromScale > last) refuse('tokenDrop.fromScale', fromScale, `at most ${last}, the model's last scale`)
    const begin = Math.max(...shapes.map((all) => all[fromScale].begin))
    if (keep < begin || keep > length)
      refuse(
        'tokenDrop.keep',
        keep,
        `from ${begin}, the tokens of the scales before scale ${fromScale}, to ${length}, all of them`,
      )
  }
  if (progressive && progressive.firstScale > last)
    refuse('progressive.firstScale', progressive.firstScale, `at most ${last}, the model's last scale`)
}

/** @throws ERR_MEMORY when a step cannot fit this machine; a GPU's memory is not known here */
function checkMemory(run: TransformerRunConfig, { tokenizer, text, device }: TokenData, processes: number): void {
  if (device !== 'cpu') return
  const { patchNums, vocabSize, latentChannels } = tokenizer.config
  const config = starConfig({ ...run.model, patchNums, vocabSize, latentChannels, textWidth: text.width })
  const bytes = 4 * [...tokenizer.namedTensors()].reduce((sum, { tensor }) => sum + tensor.count, 0)
  const plan = planTransformerRun(run, config, bytes, processes)
  checkTransformerRun(run, plan, hostMemory(), 'this machine', processes)
}

export async function openData(config: TransformerRunConfig, run: RunFolder, context: TaskContext): Promise<TokenData> {
  const source = await openSource({ name: config.tokenizer, options: {} }, context)
  const data = await TokenData.open({ ...config, source }, run, context)
  try {
    checkMemory(config, data, context.group.size)
    return data
  } catch (error) {
    data.dispose()
    throw error
  }
}

export const createTask = (config: Resolved<TransformerRunConfig>, data: TokenData): Task =>
  new TransformerTask(config, data)
