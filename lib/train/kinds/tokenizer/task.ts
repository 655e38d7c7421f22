/** Training of the image tokenizer: reconstruction and quantizer loss, a codebook kept alive. */

import { type LoadedSample, type PictureSize, toTensor } from '../../../data/index.js'
import { type EfficientNetLite0, loadBackbone } from '../../../models/backbone/index.js'
import { gridOf, gridsOf } from '../../../models/grid.js'
import { perceptualLoss, perceptualTerms } from '../../../models/losses/index.js'
import {
  pixelsOf as bytesOf,
  downsampling,
  type ImageTerm,
  psnr,
  scaleSides,
  Tokenizer,
  tokenizerObjective,
} from '../../../models/tokenizer/index.js'
import { StarError } from '../../../native/index.js'
import { noGrad, Random, scope, Tensor } from '../../../tensor/index.js'
import type { ModelFolderContent } from '../../../weights/index.js'
import type { Resolved } from '../../config/resolve.js'
import type { Batch } from '../../data/batch.js'
import type { TaskContext } from '../../data/context.js'
import { type Loaders, openLoaders } from '../../data/loaders.js'
import { trainingGrids, trainingSizes } from '../../data/shapes.js'
import type { RecordedSample } from '../../run-folder/recorder.js'
import type { RunFolder } from '../../run-folder/run-folder.js'
import { sideBySide } from '../sample-pictures.js'
import { type Figures, type FrozenParts, type Metrics, scalars, type Task } from '../task.js'
import { Adversary, type AdversaryDraws, type AdversaryState, sliceDraws } from './adversary.js'
import type { TokenizerRunConfig } from './config.js'
import { StepVectors } from './step-vectors.js'

/** Images whose features make the first codebook. */
const initialImages = 128
const validationBatch = 16
/** Held-out images among the sample pictures. */
const shownImages = 8

/** Images of one size, as bytes (height, width, 3). */
interface Pictures {
  pixels: readonly Uint8Array[]
  size: PictureSize
}

interface ImageBatch extends Batch, Pictures {
  /** With the first batch of a run: the images whose features make the codebook. */
  initial: Pictures | null
}

/** A micro-batch. */
interface Part extends Omit<ImageBatch, keyof Batch> {
  /** Whether the batch ends with it. */
  last: boolean
  /** Micro-batches of the batch. */
  parts: number
  /** What a discriminator sees; null where there is none yet. */
  draws: AdversaryDraws | null
}

class TokenizerTask implements Task<ImageBatch, Part> {
  readonly frozen: FrozenParts = {}
  readonly source = null
  readonly model: Tokenizer
  readonly #config: Resolved<TokenizerRunConfig>
  readonly #loaders: Loaders
  readonly #context: TaskContext
  #random: Random
  /** Of the step at hand: uses of the codebook's rows, summed over this process's micro-batches, and the vectors for a revival. */
  #counts: Float32Array | null = null
  #vectors: StepVectors | null = null
  #initialized = false
  readonly #backbone: EfficientNetLite0 | null
  readonly #adversary: Adversary | null

  constructor(
    config: Resolved<TokenizerRunConfig>,
    loaders: Loaders,
    backbone: EfficientNetLite0 | null,
    context: TaskContext,
  ) {
    const { device } = context
    this.#config = config
    this.#loaders = loaders
    this.#context = context
    this.#random = new Random(config.seed)
    this.model = new Tokenizer(config.model, { init: this.#random, device })
    if (config.train === 'decoder')
      for (const part of [this.model.encoder, this.model.quantConv, this.model.quantizer]) part.setTrainable(false)
    const { adversarial } = config.loss
    this.#backbone = backbone
    this.#adversary = adversarial ? new Adversary(adversarial, config.optimizer, this.#random, context) : null
  }

  get sides(): readonly number[] {
    return scaleSides(this.#config.model)
  }

  async next(count: number): Promise<ImageBatch> {
    const initial = this.#initialized ? null : await this.#initialPictures()
    this.#initialized = true
    const { samples, epoch, size } = await this.#loaders.train.next(count)
    return { ids: samples.map(({ id }) => id), epoch, pixels: pixelsOf(samples), size, initial }
  }

  split({ ids, pixels, size: pictureSize, initial }: ImageBatch, count: number, step: number): Part[] {
    // What a step that was left out had gathered.
    this.#forget()
    const size = pixels.length / count
    const { rank, size: ranks } = this.#context.group
    const share = { total: ids.length * ranks, begin: ids.length * rank, end: ids.length * (rank + 1) }
    const draws = this.#adversary?.active(step) ? this.#adversary.draw(share, this.#random) : null
    return Array.from({ length: count }, (_, i) => {
      const [begin, end] = [i * size, (i + 1) * size]
      return {
        pixels: pixels.slice(begin, end),
        size: pictureSize,
        initial: i === 0 ? initial : null,
        last: i === count - 1,
        parts: count,
        draws: draws && sliceDraws(draws, begin, end),
      }
    })
  }

  forwardBackward({ pixels, size, initial, ...part }: Part, step: number, backward: (loss: Tensor) => void): Figures {
    const { last, draws } = part
    const { loss: weights, train } = this.#config
    const images = this.#tensor({ pixels, size })
    if (initial) this.#initialize(initial)
    const adversarial = draws && this.#adversary!.term(draws, step)
    const options = { terms: this.#judged(), adversarial, decoderOnly: train === 'decoder' }
    const objective = tokenizerObjective(this.model, images, weights, options)
    const { loss, value, terms, indices, vectors } = objective
    const { codebook } = this.model.quantizer
    const counts = codebook.count(indices)
    const before = this.#counts
    this.#counts = before ? counts.map((n, i) => n + before[i]) : counts
    if (vectors && this.#revives(step + 1)) {
      const grids = gridsOf(this.model.config.patchNums, gridOf(size, downsampling(this.model.config)))
      this.#vectors ??= new StepVectors(grids, this.#context)
      this.#vectors.add(vectors)
    }
    // Ahead of the gradients, which the processes exchange from here on.
    const all = last ? this.#overAll(this.#counts) : null
    backward(loss)
    if (all) codebook.record(all())
    const usage = last ? codebook.usage() : null
    const judged = draws && { discriminator: this.#adversary!.discriminate(images, objective, draws, part.parts) }
    const figures: Record<string, Tensor> = { loss: value, ...terms, ...judged }
    const names = Object.keys(figures)
    return {
      values: scalars(Object.values(figures)),
      named: (means) => ({
        ...Object.fromEntries(names.map((name, i) => [name, means[i]])),
        psnr: psnr(means[names.indexOf('l2')]),
        ...(adversarial && { adversarialWeight: adversarial.weight }),
        ...(usage && { usage: usage.overall, perplexity: usage.perplexity }),
      }),
    }
  }

  afterStep(step: number): void {
    const vectors = this.#vectors
    if (this.#revives(step) && vectors) {
      // A row that met less than a twentieth of an even share of the step's tokens has had its chance.
      const below = (0.05 * vectors.count) / this.#config.model.vocabSize
      scope(() => this.model.quantizer.codebook.revive(vectors, this.#random, { below }))
    }
    this.#adversary?.step(step)
    this.#forget()
  }

  #forget(): void {
    this.#vectors?.dispose()
    this.#vectors = null
    this.#counts = null
    this.#adversary?.forget()
  }

  /** The terms of the loss that another network judges, but for the discriminator's. */
  #judged(): Record<string, ImageTerm> {
    const [backbone, config] = [this.#backbone, this.#config.loss.perceptual]
    if (!backbone || !config) return {}
    return { perceptual: { weight: 1, loss: (given, images) => perceptualLoss(backbone, given, images, config) } }
  }

  /** The first codebook, from the same images on all processes; where each has its own (tars), from those of the first. */
  #initialize(images: Pictures): void {
    scope(() => this.model.initializeCodebook(this.#tensor(images), this.#random))
    this.#context.group.broadcast(this.model.quantizer.codebook.weight, 0).wait()
  }

  /** Begins to sum counts over all processes. @returns waits for the sums, exact up to 2^24 */
  #overAll(counts: Float32Array): () => Float32Array {
    const { group, device } = this.#context
    if (group.size === 1) return () => counts
    const sums = Tensor.from(counts, [counts.length], { device })
    const work = group.allReduce(sums)
    return () => {
      work.wait()
      return sums.floats()
    }
  }

  /** PSNR of held-out images after the round trip through tokens, their perceptual distance, and how many codebook rows they use. */
  async validate(): Promise<Metrics> {
    const { heldOut } = this.#loaders
    if (!heldOut) return {}
    let [squares, values, distance, count] = [0, 0, 0, 0]
    const used = new Set<number>()
    for await (const { samples, size } of heldOut.pass(validationBatch)) {
      noGrad(() =>
        scope(() => {
          const images = this.#tensor({ pixels: pixelsOf(samples), size })
          const { indices, fHat } = this.model.quantizer.quantize(this.model.encode(images))
          for (const ids of indices) for (const id of ids.ints()) used.add(id)
          const back = this.model.decode(fHat.at(-1)!)
          const given = back.floats()
          squares += images.floats().reduce((sum, v, i) => sum + (v - given[i]) ** 2, 0)
          if (this.#backbone) distance += samples.length * perceptualTerms(this.#backbone, back, images).features.item()
        }),
      )
      count += samples.length
      values += samples.length * size.width * size.height * 3
    }
    return {
      psnr: psnr(squares / values),
      ...(this.#backbone && { perceptual: distance / count }),
      usage: used.size / this.#config.model.vocabSize,
      images: count,
    }
  }

  /** Held-out images, each beside what is left of it after the round trip through tokens. */
  async pictures(): Promise<RecordedSample[]> {
    const { heldOut } = this.#loaders
    if (!heldOut) return []
    for await (const { samples, size } of heldOut.pass(shownImages)) {
      const given = pixelsOf(samples)
      const back = noGrad(() => scope(() => bytesOf(this.model.reconstruct(this.#tensor({ pixels: given, size })))))
      return samples.map(({ id }, i) => ({ prompt: id, picture: sideBySide([given[i], back[i]], size) }))
    }
    return []
  }

  state(): unknown {
    return {
      random: this.#random.state(),
      data: this.#loaders.position.state(),
      ...(this.#adversary && { adversary: this.#adversary.state() }),
    }
  }

  restore(state: unknown): void {
    const { random, data, adversary } = state as {
      random: ReturnType<Random['state']>
      data: unknown
      adversary?: AdversaryState
    }
    this.#random = Random.restore(random)
    this.#loaders.position.restore(data)
    if (adversary) this.#adversary?.restore(adversary)
    this.#initialized = true
  }

  *tensors(): Generator<readonly [string, Tensor]> {
    if (this.#adversary) yield* prefixed('discriminator.', this.#adversary.tensors())
  }

  /** Trained weights have a codebook. */
  started(): void {
    this.#initialized = true
  }

  modelConfig(): ModelFolderContent['config'] {
    return { name: 'tokenizer', tokenizer: this.#config.model, shapes: this.#config.data.buckets }
  }

  dispose(): void {
    this.#forget()
    this.model.dispose()
    this.#adversary?.dispose()
    this.#backbone?.dispose()
    this.#loaders.dispose()
  }

  #revives(step: number): boolean {
    const { reviveEvery, reviveUntil, optimizer, train } = this.#config
    return train === 'all' && reviveEvery > 0 && step % reviveEvery === 0 && step <= reviveUntil * optimizer.steps
  }

  /** The first images of the order over all processes, which the training will meet again. */
  async #initialPictures(): Promise<Pictures> {
    const { train } = this.#loaders
    const { samples, size } = await train.peek(Math.min(initialImages, train.length ?? initialImages))
    return { pixels: pixelsOf(samples), size }
  }

  #tensor({ pixels, size }: Pictures): Tensor {
    return toTensor(pixels, size, { device: this.#context.device })
  }
}

function* prefixed(prefix: string, tensors: Iterable<[string, Tensor]>): Generator<readonly [string, Tensor]> {
  for (const [name, tensor] of tensors) yield [prefix + name, tensor]
}

/** A loader without a cache gives the pixels of all samples. */
const pixelsOf = (samples: readonly LoadedSample[]): Uint8Array[] => samples.map(({ pixels }) => pixels!)

export async function openData(config: TokenizerRunConfig, run: RunFolder, context: TaskContext): Promise<Loaders> {
  const { resolution } = config.data
  const side =
    config.model.patchNums[config.model.patchNums.length - 1] * 2 ** (config.model.channelMultipliers.length - 1)
  if (side !== resolution)
    throw new StarError(
      'ERR_CONFIG',
      `"data.resolution" is ${resolution}, but the model takes ${side} pixels (last of patchNums times 2 per level): set one by the other`,
    )
  trainingGrids(config.data, downsampling(config.model))
  checkTraining(config)
  return openLoaders(config, run, context)
}

/** @throws ERR_CONFIG for a discriminator that the images are too small for, and for a decoder without an encoder to go with */
function checkTraining({ train, start, loss, data }: TokenizerRunConfig): void {
  if (train === 'decoder' && !start)
    throw new StarError(
      'ERR_CONFIG',
      '"train" is "decoder", but nothing says whose encoder and codebook stay: set "start"',
    )
  const layers = loss.adversarial?.layers ?? 0
  // Two convolutions 4×4 without stride follow, each of which takes a pixel.
  const shortest = Math.min(...trainingSizes(data).flatMap(({ width, height }) => [width, height]))
  const most = Math.floor(Math.log2(shortest / 3))
  if (layers > most)
    throw new StarError(
      'ERR_CONFIG',
      `"loss.adversarial.layers" is ${layers}, but a side of ${shortest} pixels has no patches left after them: set at most ${most}`,
    )
}

export function createTask(config: Resolved<TokenizerRunConfig>, loaders: Loaders, context: TaskContext): Task {
  const { perceptual } = config.loss
  const backbone = perceptual ? loadBackbone(perceptual.backbone, { device: context.device }) : null
  try {
    return new TokenizerTask(config, loaders, backbone, context)
  } catch (error) {
    backbone?.dispose()
    throw error
  }
}
