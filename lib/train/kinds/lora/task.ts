/** Training of low-rank updates of a frozen transformer, by teacher forcing on few images and on pictures of its own. */

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { LoraAdapters, layersOf, writeLora } from '../../../models/lora/index.js'
import { loadPart, type ModelSource } from '../../../models/source.js'
import {
  type DropPath,
  drawDropPath,
  namedMetrics,
  StarTransformer,
  scaleShares,
  sliceDropPath,
  tokenMetrics,
  tokenObjective,
  tokenWeights,
} from '../../../models/star/index.js'
import { textEncoderReference } from '../../../models/text/load.js'
import { transformerHash } from '../../../models/weights-hash.js'
import { StarError } from '../../../native/index.js'
import { add, concat, mul, Random, slice, type Tensor } from '../../../tensor/index.js'
import { type ModelFolderContent, shippedModels } from '../../../weights/index.js'
import { baseSource } from '../../config/base.js'
import { precisionOn } from '../../config/precision.js'
import type { Resolved } from '../../config/resolve.js'
import { readPrompts } from '../../config/work.js'
import type { TaskContext } from '../../data/context.js'
import { sampleSize } from '../../data/shapes.js'
import { openSource, splitSamples, TokenData, type TokenSamples } from '../../data/token-data.js'
import type { RecordedSample } from '../../run-folder/recorder.js'
import type { RunFolder } from '../../run-folder/run-folder.js'
import { flatMetrics } from '../flat-metrics.js'
import type { Exported, RunData } from '../run-spec.js'
import { drawPrompts } from '../sample-pictures.js'
import { type Figures, type FrozenParts, type Metrics, scalars, type Task } from '../task.js'
import { hostMemory } from '../transformer/plan.js'
import type { LoraRunConfig } from './config.js'
import { checkLoraRun, planLoraRun, sizesOf } from './plan.js'
import { openPrior, type Prior, type PriorOptions, priorTokens } from './prior.js'

/** A micro-batch: samples, the pictures of the model's own that go with them, and the branches that each of both leaves out. */
interface Part {
  samples: TokenSamples
  prior: Pick<TokenSamples, 'captions' | 'tokens'> | null
  dropPath: DropPath
}

/** The frozen model, what it is trained on, and pictures of its own. */
export class LoraData implements RunData {
  constructor(
    readonly tokens: TokenData,
    readonly base: StarTransformer,
    readonly prior: Prior | null,
  ) {}

  get sampleCount(): number | null {
    return this.tokens.sampleCount
  }

  dispose(): void {
    this.base.dispose()
    this.tokens.dispose()
  }
}

/** Updates of the matrices that a configuration names. */
const adaptersOf = (
  base: StarTransformer,
  { rank, alpha = rank, targets }: LoraRunConfig,
  init: Random | null,
): LoraAdapters =>
  new LoraAdapters(base, new Map(layersOf(base, targets).map((name) => [name, { rank, scale: alpha / rank }])), {
    init,
    device: base.device,
  })

class LoraTask implements Task<TokenSamples, Part> {
  readonly model: LoraAdapters
  readonly frozen: FrozenParts = {}
  readonly #base: StarTransformer
  readonly #tokens: TokenData
  #random: Random

  constructor(
    private readonly config: Resolved<LoraRunConfig>,
    private readonly data: LoraData,
  ) {
    this.#base = data.base
    this.#tokens = data.tokens
    this.#random = new Random(config.seed)
    scaleShares(config.scaleWeights, this.#base.levels)
    this.model = adaptersOf(this.#base, config, this.#random)
  }

  get source(): ModelSource {
    return this.#tokens.source
  }

  get sides(): readonly number[] {
    return this.#tokens.sides
  }

  next(count: number): Promise<TokenSamples> {
    return this.#tokens.next(count, this.#random, this.config.textDropout)
  }

  split(batch: TokenSamples, count: number): Part[] {
    const share = this.#tokens.share(batch.ids.length)
    const dropPath = drawDropPath(this.#base.config, share, this.#random)
    const chosen = this.#drawPrior(batch.ids.length)
    return splitSamples(batch, count).map(({ samples, begin, end }) => {
      const own = sliceDropPath(dropPath, begin, end)
      const prior = chosen && this.#priorOf(chosen.slice(begin, end), batch.grid)
      return { samples, prior, dropPath: own }
    })
  }

  /** Which picture of the model's own goes with each sample. */
  #drawPrior(own: number): number[] | null {
    const { prior } = this.data
    if (!prior) return null
    const { total, begin, end } = this.#tokens.share(own)
    this.#random.skip(begin)
    const chosen = Array.from({ length: own }, () => this.#random.integer(prior.captions.length))
    this.#random.skip(total - end)
    return chosen
  }

  /** Those pictures, in the shape of the samples. */
  #priorOf(chosen: readonly number[], grid: TokenSamples['grid']): NonNullable<Part['prior']> {
    const prior = this.data.prior!
    return { captions: chosen.map((row) => prior.captions[row]), tokens: priorTokens(prior, chosen, grid) }
  }

  forwardBackward({ samples, prior, dropPath }: Part, _step: number, backward: (loss: Tensor) => void): Figures {
    const { grid } = samples
    const levels = this.#base.levelsOf(grid)
    const { recompute } = this.config
    const count = samples.ids.length
    // Samples first, then as many pictures of the model's own, in one pass.
    const { input, text, targets } = this.#tokens.batch({
      captions: [...samples.captions, ...(prior?.captions ?? [])],
      tokens: prior ? joined(samples.tokens, prior.tokens) : samples.tokens,
      grid,
      errors: null,
    })
    const logits = this.#base.forward({
      input,
      text,
      grid,
      dropPath: prior ? twice(dropPath) : dropPath,
      recompute,
      independent: true,
    }) // (B, L, V)
    const rows = (x: Tensor, begin: number, end: number): Tensor => (prior ? slice(x, 0, begin, end) : x)
    const { scaleWeights } = this.config
    const options =
      scaleWeights === 'tokens' ? {} : { weights: tokenWeights(scaleShares(scaleWeights, levels), levels) }
    const { loss, sums } = tokenObjective(rows(logits, 0, count), rows(targets, 0, count), levels, options)
    const [, , vocab] = logits.shape
    if (!prior) {
      backward(loss)
      return {
        values: concat([scalars([loss]), sums], 0),
        named: ([mean, ...rest]) => ({ loss: mean, ...named(rest) }),
      }
    }
    const kept = tokenObjective(rows(logits, count, 2 * count), rows(targets, count, 2 * count), levels, options)
    const both = add(loss, mul(kept.loss, this.config.prior!.weight))
    backward(both)
    return {
      values: concat([scalars([both, kept.loss]), sums], 0),
      named: ([mean, Lprior, ...rest]) => ({ loss: mean, Lprior, ...named(rest) }),
    }

    function named(values: readonly number[]): Metrics {
      const found = namedMetrics(values, levels, { batch: count, vocab })
      return { ...flatMetrics(found), usage: found.usage }
    }
  }

  /** Loss and accuracy on held-out images. */
  validate(): Promise<Metrics> {
    return this.#tokens.overHeldOut(({ input, text, grid, targets }) => {
      const logits = this.#base.forward({ input, text, grid, independent: true })
      return flatMetrics(tokenMetrics(logits, targets, this.#base.levelsOf(grid)))
    })
  }

  async pictures(given: readonly string[]): Promise<RecordedSample[]> {
    const { tokenizer, text, device } = this.#tokens
    const prompts = given.length > 0 ? given : await this.#tokens.heldOutCaptions()
    const [settings, size] = [settingsOf(this.source), sampleSize(this.config.data)]
    return drawPrompts({ tokenizer, transformer: this.#base, text, device, prompts, settings, size })
  }

  beginEpoch(epoch: number): void {
    this.#tokens.loaders.position.begin(epoch)
  }

  state(): unknown {
    return { random: this.#random.state(), data: this.#tokens.state() }
  }

  restore(state: unknown): void {
    const { random, data } = state as { random: ReturnType<Random['state']>; data: unknown }
    this.#random = Random.restore(random)
    this.#tokens.restore(data)
  }

  /** Of the model that it belongs to, under the name of the LoRA. */
  modelConfig(): ModelFolderContent['config'] {
    return {
      name: this.config.name,
      tokenizer: this.#tokens.tokenizer.config,
      transformer: this.#base.config,
      textEncoder: textEncoderReference(baseOf(this.source).textEncoder),
      sampling: { ...this.source.sampling },
      speeds: { ...this.source.speeds },
      shapes:
        this.config.data.buckets ?? this.source.shapes?.map(([width, height]): [number, number] => [width, height]),
    }
  }

  dispose(): void {
    this.model.dispose()
    this.data.dispose()
  }
}

/** The pictures of the model's own leave out the branches that the samples leave out. */
const twice = (dropPath: DropPath): DropPath =>
  dropPath.map((factors) => factors && [repeated(factors[0]), repeated(factors[1])])

const repeated = (factors: Float32Array): Float32Array => Float32Array.from([...factors, ...factors])

function joined(a: Int32Array, b: Int32Array): Int32Array {
  const both = new Int32Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}

/** Settings of the model, drawn without its sampler head. */
const settingsOf = ({ sampling }: ModelSource): Record<string, unknown> => ({ ...sampling, stableFrom: undefined })

/** @throws ERR_CONFIG for a model that cannot be fine-tuned */
function baseOf({ transformer, textEncoder, path }: ModelSource) {
  if (transformer && textEncoder) return { transformer, textEncoder }
  throw new StarError(
    'ERR_CONFIG',
    transformer
      ? `base: ${path} does not say its text encoder: name the one it was trained with (textEncoder)`
      : `base: ${path} holds no transformer: name a model that draws`,
  )
}

/** @throws ERR_MEMORY when a step cannot fit this machine; a GPU's memory is not known here */
export async function openData(config: LoraRunConfig, run: RunFolder, context: TaskContext): Promise<LoraData> {
  const source = await openSource(baseSource(config), context)
  const { transformer, textEncoder } = baseOf(source)
  if (context.device === 'cpu') {
    const plan = planLoraRun(config, sizesOf(source), context.group.size)
    checkLoraRun(config, plan, hostMemory(), 'this machine', context.group.size)
  }
  const tokens = await TokenData.open({ data: config.data, source, textEncoder, seed: config.seed }, run, context)
  let base: StarTransformer | null = null
  try {
    base = new StarTransformer(transformer, { init: null, device: context.device, int8: config.baseDtype === 'int8' })
    base.setTrainable(false)
    loadPart(source, 'transformer', base)
    const precision = precisionOn(config.precision, context.device)
    if (precision !== 'f32') for (const single of base.toHalf(precision).values()) single.dispose()
    const options = config.prior && priorOptions(config.prior, config, source)
    return new LoraData(tokens, base, options ? await openPrior(options, base, tokens, run, context) : null)
  } catch (error) {
    base?.dispose()
    tokens.dispose()
    throw error
  }
}

/** @throws ERR_FILE for a file of prompts that cannot be read, ERR_CONFIG where there are none in it */
function priorOptions(
  prior: NonNullable<LoraRunConfig['prior']>,
  { seed, data: { buckets } }: LoraRunConfig,
  source: ModelSource,
): PriorOptions {
  const { promptFile } = prior
  const prompts = [...prior.prompts, ...(promptFile === undefined ? [] : readPrompts(promptFile, 'prior.promptFile'))]
  if (prompts.length === 0) throw new StarError('ERR_CONFIG', `prior.promptFile: ${promptFile} holds no prompt`)
  const { pictures = prompts.length } = prior
  return { prompts, pictures, seed, settings: settingsOf(source), hash: transformerHash(source), buckets }
}

export const createTask = (config: Resolved<LoraRunConfig>, data: LoraData): Task => new LoraTask(config, data)

/** Writes the LoRA in the layout of PEFT; a model in a folder is named by its whole path. */
export function exportTo(folder: string, config: LoraRunConfig, { trained, source }: Exported): void {
  const { base, rank, alpha = rank, targets, data } = config
  const name = existsSync(base) && !shippedModels().has(base) ? resolve(base) : base
  writeLora(folder, {
    tensors: trained.namedTensors(),
    rank,
    alpha,
    targets,
    base: { name, hash: transformerHash(source!) },
    pictures: data.buckets,
  })
}
